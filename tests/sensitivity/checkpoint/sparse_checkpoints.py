"""Directories with the headers of very large models and holes for weights: real sizes, no disk space."""

import json
import struct
from pathlib import Path


def write_holes(directory: Path, config: dict[str, object], tensors: dict[str, tuple[int, ...]], *, shards: int) -> Path:
    """Write ``config.json``, an index and ``shards`` bfloat16 safetensors files whose data are holes."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    places: dict[str, str] = {}
    names = list(tensors)
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        mine = names[shard * len(names) // shards : (shard + 1) * len(names) // shards]
        _write_shard(directory / file, {name: tensors[name] for name in mine})
        places |= dict.fromkeys(mine, file)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return directory


def _write_shard(path: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    header: dict[str, object] = {}
    at = 0
    for name, shape in tensors.items():
        size = 2
        for length in shape:
            size *= length
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)


def llama_70b(directory: Path) -> Path:
    """Llama 3 70B: 723 tensors, 141 GB in 30 shards."""
    config: dict[str, object] = {
        "model_type": "llama",
        "hidden_size": 8192,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": False,
    }
    tensors: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (128256, 8192)}
    for block in range(80):
        path = f"model.layers.{block}"
        tensors |= _attention(path, hidden=8192, heads=8192, kv=1024)
        tensors |= _mlp(f"{path}.mlp", hidden=8192, ffn=28672)
    tensors |= {"model.norm.weight": (8192,), "lm_head.weight": (128256, 8192)}
    return write_holes(directory, config, tensors, shards=30)


def qwen3_235b(directory: Path) -> Path:
    """Qwen3 235B-A22B: 94 blocks of 128 experts, 36,945 tensors, 470 GB in 118 shards."""
    config: dict[str, object] = {
        "model_type": "qwen3_moe",
        "num_hidden_layers": 94,
        "num_attention_heads": 64,
        "num_key_value_heads": 4,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "vocab_size": 151936,
        "tie_word_embeddings": False,
    }
    tensors: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (151936, 4096)}
    for block in range(94):
        path = f"model.layers.{block}"
        tensors |= _attention(path, hidden=4096, heads=8192, kv=512)
        tensors |= {f"{path}.self_attn.{norm}.weight": (128,) for norm in ("q_norm", "k_norm")}
        tensors[f"{path}.mlp.gate.weight"] = (128, 4096)
        for expert in range(128):
            tensors |= _mlp(f"{path}.mlp.experts.{expert}", hidden=4096, ffn=1536)
    tensors |= {"model.norm.weight": (4096,), "lm_head.weight": (151936, 4096)}
    return write_holes(directory, config, tensors, shards=118)


def _attention(path: str, *, hidden: int, heads: int, kv: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{path}.self_attn.q_proj.weight": (heads, hidden),
        f"{path}.self_attn.k_proj.weight": (kv, hidden),
        f"{path}.self_attn.v_proj.weight": (kv, hidden),
        f"{path}.self_attn.o_proj.weight": (hidden, heads),
        f"{path}.input_layernorm.weight": (hidden,),
        f"{path}.post_attention_layernorm.weight": (hidden,),
    }


def _mlp(path: str, *, hidden: int, ffn: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{path}.gate_proj.weight": (ffn, hidden),
        f"{path}.up_proj.weight": (ffn, hidden),
        f"{path}.down_proj.weight": (hidden, ffn),
    }


SMALL_CONFIG: dict[str, object] = {
    "model_type": "llama",
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 8,
    "tie_word_embeddings": True,
}


def small_llama(directory: Path, **extra: tuple[int, ...]) -> Path:
    """A Llama of one block of 4 × 4 matrices in one shard, and further tensors."""
    tensors = _attention("model.layers.0", hidden=4, heads=4, kv=4) | _mlp("model.layers.0.mlp", hidden=4, ffn=4)
    return write_holes(directory, SMALL_CONFIG, {"model.embed_tokens.weight": (8, 4), **tensors, **extra}, shards=1)
