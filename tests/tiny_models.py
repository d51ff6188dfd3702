"""Tiny random checkpoints on disk, written by the formats' own libraries: what every test of a model stands on.

Each builder writes a directory (configuration, safetensors, byte-level tokenizer) and returns it. Weights are random but
of a useful size (logits spread over a few nats, norms away from one, biases away from zero), so that a swapped, transposed
or forgotten tensor shows. ``vocab`` is at least 256: the tokenizer gives every byte its own token.
"""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFWriter
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Cohere2Config,
    CohereConfig,
    Ernie4_5Config,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    Ministral3Config,
    MistralConfig,
    MixtralConfig,
    NemotronConfig,
    Olmo2Config,
    Olmo3Config,
    OlmoConfig,
    OlmoeConfig,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
    Qwen3MoeConfig,
    SeedOssConfig,
    SmolLM3Config,
    StableLmConfig,
    Starcoder2Config,
)
from transformers.utils import logging


def tiny_llama(
    directory: Path,
    *,
    seed: int = 0,
    blocks: int = 2,
    hidden: int = 64,
    ffn: int = 128,
    heads: int = 4,
    kv_heads: int = 2,
    vocab: int = 256,
    tied: bool = False,
    dtype: torch.dtype = torch.bfloat16,
    sharded: bool = False,
) -> Path:
    """A Llama with grouped-query attention; ``sharded`` gives several files and an index."""
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=ffn,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=vocab,
        tie_word_embeddings=tied,
        max_position_embeddings=512,
    )
    return write_model(directory, config, seed=seed, dtype=dtype, sharded=sharded)


def tiny_qwen3(directory: Path, *, seed: int = 0, blocks: int = 2, tied: bool = True) -> Path:
    """A Qwen3: q/k norms, tied embeddings, a head_dim (32) that is not hidden / heads."""
    config = Qwen3Config(**_dense(blocks), head_dim=32, tie_word_embeddings=tied)
    return write_model(directory, config, seed=seed)


def tiny_gemma2(directory: Path, *, seed: int = 0, blocks: int = 2) -> Path:
    """A Gemma 2: tied, soft-capped logits, norms around the blocks' outputs."""
    config = Gemma2Config(**_dense(blocks), head_dim=16, query_pre_attn_scalar=16, sliding_window=64)
    return write_model(directory, config, seed=seed)


def tiny_gemma3(directory: Path, *, seed: int = 0, blocks: int = 2) -> Path:
    """The text model of Gemma 3."""
    config = Gemma3TextConfig(**_dense(blocks), head_dim=16, query_pre_attn_scalar=16, sliding_window=64)
    return write_model(directory, config, seed=seed)


def tiny_phi3(directory: Path, *, seed: int = 0, blocks: int = 2) -> Path:
    """A Phi-3: fused qkv_proj and gate_up_proj."""
    return write_model(directory, Phi3Config(**_dense(blocks), pad_token_id=0, bos_token_id=0, eos_token_id=0), seed=seed)


def tiny_gpt2(directory: Path, *, seed: int = 0, blocks: int = 2, hidden: int = 64, vocab: int = 256) -> Path:
    """A GPT-2: Conv1D (stored as (in, out)), biases, tied."""
    config = GPT2Config(
        n_embd=hidden, n_layer=blocks, n_head=4, n_positions=512, vocab_size=vocab, bos_token_id=0, eos_token_id=0
    )
    return write_model(directory, config, seed=seed)


def tiny_gpt_neox(directory: Path, *, seed: int = 0, blocks: int = 2) -> Path:
    """A GPT-NeoX: fused query_key_value, biases, an untied head."""
    sizes = {key: value for key, value in _dense(blocks).items() if key != "num_key_value_heads"}
    return write_model(directory, GPTNeoXConfig(**sizes), seed=seed)


def tiny_opt(directory: Path, *, seed: int = 0, blocks: int = 2) -> Path:
    """An OPT: learned positions, biases, tied."""
    config = OPTConfig(
        hidden_size=64,
        word_embed_proj_dim=64,
        ffn_dim=128,
        num_hidden_layers=blocks,
        num_attention_heads=4,
        vocab_size=256,
        max_position_embeddings=512,
    )
    return write_model(directory, config, seed=seed)


def tiny_mixtral(directory: Path, *, seed: int = 0, blocks: int = 2, experts: int = 4, top_k: int = 2) -> Path:
    """A Mixtral: every MLP is a mixture."""
    config = MixtralConfig(**_dense(blocks), num_local_experts=experts, num_experts_per_tok=top_k)
    return write_model(directory, config, seed=seed)


def tiny_qwen2_moe(directory: Path, *, seed: int = 0, blocks: int = 2, experts: int = 4, top_k: int = 2) -> Path:
    """A Qwen2-MoE: routed experts beside a shared one; the first block is dense."""
    config = Qwen2MoeConfig(
        **_dense(blocks),
        num_experts=experts,
        num_experts_per_tok=top_k,
        moe_intermediate_size=32,
        shared_expert_intermediate_size=64,
        mlp_only_layers=[0],
    )
    return write_model(directory, config, seed=seed)


def tiny_qwen3_moe(directory: Path, *, seed: int = 0, blocks: int = 2, experts: int = 4, top_k: int = 2) -> Path:
    """A Qwen3-MoE: routed experts only."""
    config = Qwen3MoeConfig(
        **_dense(blocks),
        head_dim=16,
        num_experts=experts,
        num_experts_per_tok=top_k,
        moe_intermediate_size=32,
        norm_topk_prob=True,
    )
    return write_model(directory, config, seed=seed)


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "llama": tiny_llama,
    "qwen3": tiny_qwen3,
    "gemma2": tiny_gemma2,
    "gemma3_text": tiny_gemma3,
    "phi3": tiny_phi3,
    "gpt2": tiny_gpt2,
    "gpt_neox": tiny_gpt_neox,
    "opt": tiny_opt,
    "mixtral": tiny_mixtral,
    "qwen2_moe": tiny_qwen2_moe,
    "qwen3_moe": tiny_qwen3_moe,
}


def _dense(blocks: int) -> dict[str, int]:
    return {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": blocks,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 256,
        "max_position_embeddings": 512,
    }


_SIZES = _dense(2)
_SPECIAL = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
OTHERS: dict[str, PreTrainedConfig] = {
    "mistral": MistralConfig(**_SIZES, sliding_window=16),
    "qwen2": Qwen2Config(**_SIZES),
    "gemma": GemmaConfig(**_SIZES, head_dim=16),
    "smollm3": SmolLM3Config(**_SIZES, **_SPECIAL, no_rope_layers=[0, 1]),
    "olmo": OlmoConfig(**_SIZES, **_SPECIAL, clip_qkv=1.5),
    "olmo2": Olmo2Config(**_SIZES, **_SPECIAL),
    "olmo3": Olmo3Config(**_SIZES, **_SPECIAL, sliding_window=16),
    "olmoe": OlmoeConfig(**_SIZES, **_SPECIAL, num_experts=4, num_experts_per_tok=2),
    "stablelm": StableLmConfig(**_SIZES, **_SPECIAL, use_qkv_bias=True, qk_layernorm=True, use_parallel_residual=True),
    "granite": GraniteConfig(
        **_SIZES, logits_scaling=3.0, embedding_multiplier=2.0, residual_multiplier=0.5, attention_multiplier=0.1
    ),
    "seed_oss": SeedOssConfig(**_SIZES, **_SPECIAL, head_dim=16),
    "ministral3": Ministral3Config(
        **_SIZES,
        **_SPECIAL,
        head_dim=16,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 16.0,
            "original_max_position_embeddings": 32,
            "llama_4_scaling_beta": 0.1,
        },
    ),
    "cohere": CohereConfig(**_SIZES, **_SPECIAL, logit_scale=0.3, use_qk_norm=True),
    "cohere2": Cohere2Config(**_SIZES, **_SPECIAL, logit_scale=0.3, sliding_window=16),
    "ernie4_5": Ernie4_5Config(**_SIZES, **_SPECIAL, head_dim=16),
    "starcoder2": Starcoder2Config(**_SIZES, **_SPECIAL),
    "nemotron": NemotronConfig(**_SIZES, **_SPECIAL),
    "phi": PhiConfig(**_SIZES, **_SPECIAL),
}
"""The families that have no builder of their own; together with those that have one, every family."""


def build(family: str, directory: Path) -> Path:
    """A tiny model of any family that is known."""
    return BUILDERS[family](directory) if family in BUILDERS else write_model(directory, OTHERS[family])


def write_model(
    directory: Path,
    config: PreTrainedConfig,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.bfloat16,
    sharded: bool = False,
) -> Path:
    """Write a random causal language model of any configuration, with the byte-level tokenizer beside it."""
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomise(model, seed)
    directory.mkdir(parents=True, exist_ok=True)
    logging.disable_progress_bar()
    model.to(dtype).save_pretrained(directory, max_shard_size="64KB" if sharded else "1GB")
    byte_tokenizer().save_pretrained(directory)
    return directory


@torch.no_grad()
def randomise(model: nn.Module, seed: int) -> None:
    """Fill every parameter: matrices with gain 1.4 over fan-in, embeddings around one, vectors off their neutral value."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if id(parameter) in embeddings:
            parameter.copy_(0.3 * noise)
        elif parameter.dim() > 1:
            parameter.copy_(noise * 1.4 / parameter.shape[-1] ** 0.5)
        else:
            parameter.add_(0.1 * noise)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are the 256 bytes, without any special token."""
    tokenizer = Tokenizer(models.BPE(vocab=_byte_vocabulary(), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def _byte_vocabulary() -> dict[str, int]:
    return {symbol: index for index, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}


def tiny_gguf(path: Path, *, seed: int = 0, blocks: int = 2, hidden: int = 64, ffn: int = 128, tied: bool = False) -> Path:
    """The GGUF (F16) of a ``tiny_llama`` in float16, whose directory stays beside it: ``path`` without its suffix."""
    directory = tiny_llama(path.with_suffix(""), seed=seed, blocks=blocks, hidden=hidden, ffn=ffn, tied=tied, dtype=torch.float16)
    config = json.loads((directory / "config.json").read_text())
    state = load_file(shards(directory)[0])
    writer = GGUFWriter(str(path), "llama")
    _write_llama_fields(writer, config)
    write_byte_vocabulary(writer)
    for name, tensor in state.items():
        _add_llama_tensor(writer, name, tensor, config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_llama_fields(writer: GGUFWriter, config: dict[str, int]) -> None:
    writer.add_name("tiny")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(config["vocab_size"])


def write_byte_vocabulary(writer: GGUFWriter) -> None:
    """The tokenizer of ``byte_tokenizer`` as a GGUF's metadata."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(list(_byte_vocabulary()))
    writer.add_token_types([1] * 256)
    writer.add_token_scores([0.0] * 256)  # no merges: transformers then derives them from the scores, and finds none
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)


LLAMA_TO_GGUF = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
LLAMA_OUTSIDE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def _add_llama_tensor(writer: GGUFWriter, name: str, tensor: torch.Tensor, config: dict[str, int]) -> None:
    array = tensor.numpy()
    if name in LLAMA_OUTSIDE:
        target = LLAMA_OUTSIDE[name]
    else:
        _, _, block, role = name.removesuffix(".weight").split(".", 3)
        target = f"blk.{block}.{LLAMA_TO_GGUF[role]}.weight"
        heads = {"self_attn.q_proj": "num_attention_heads", "self_attn.k_proj": "num_key_value_heads"}.get(role)
        array = _interleaved(array, config[heads]) if heads else array
    writer.add_tensor(target, array.astype(np.float32) if array.ndim == 1 else array)


def _interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """The rows of q or k as llama.cpp wants them for its rotary embedding: the two halves of a head interleaved."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def shards(directory: Path) -> list[Path]:
    """The weight files of a directory, sorted."""
    return sorted(directory.glob("*.safetensors"))


def truncate(path: Path, *, by: int = 100) -> None:
    """Cut the last ``by`` bytes off a file."""
    path.write_bytes(path.read_bytes()[:-by])


def flip_byte(path: Path, offset: int) -> None:
    """Change one byte; a negative ``offset`` counts from the end."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)


def edit_config(directory: Path, **changes: object) -> None:
    """Set keys of ``config.json``; ``None`` removes the key."""
    path = directory / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def edit_header(path: Path, edit: Callable[[dict[str, object]], object]) -> None:
    """Let ``edit`` change the JSON header of a safetensors file in place; the data stay as they are."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    edit(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def poison(path: Path, tensor: str, *, value: float = float("nan")) -> None:
    """Overwrite the first element of a bfloat16 tensor of a safetensors file."""
    content = bytearray(path.read_bytes())
    length = struct.unpack("<Q", content[:8])[0]
    start, _ = json.loads(content[8 : 8 + length])[tensor]["data_offsets"]
    bits = struct.unpack("<I", struct.pack("<f", value))[0] >> 16
    content[8 + length + start : 8 + length + start + 2] = struct.pack("<H", bits)
    path.write_bytes(content)
