"""GGUF checkpoints: every tensor in the type of the plan, in predicted bytes, and loaded as the weights that were measured."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, TokenType
from gguf.quants import dequantize
from tokenizers import AddedToken
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    MixtralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
    Qwen3MoeConfig,
)

from planner.containers.gguf_vocabulary import SPLITS, split_name, tokenizer_bytes
from planner.exports import ExportedModel, get_exporter
from planner.exports.llama_cpp_names import tensor_names
from planner.runtimes import get_runtime
from planner.runtimes.rest import Rest
from planner.services.models import inspect
from planner.worker.assignment_checkpoints import write_assignment
from planner.worker.checkpoint_writers.registry import writer_for
from sensitivity.checkpoint import describe
from sensitivity.errors import CheckpointError
from sensitivity.evaluation import replaced_weights
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import all_formats
from sensitivity.layer_rounding import LayerRounding
from sensitivity.loading import LoadedModel, load_model
from tests.planner.exports.example import example_model
from tests.tiny_models import byte_tokenizer, edit_config, tiny_gguf, tiny_gpt2, tiny_llama, write_model

RUNTIME = get_runtime("llama.cpp")
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 512,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}
# head_dim and moe_intermediate_size of Qwen are transformers' defaults, which it does not read from GGUF.
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SIZES, rope_theta=5e5),
    "qwen2": Qwen2Config(**SIZES, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**SIZES, head_dim=128),
    "qwen2_moe": Qwen2MoeConfig(**SIZES, **EXPERTS, moe_intermediate_size=1408, shared_expert_intermediate_size=5632),
    "qwen3_moe": Qwen3MoeConfig(**SIZES, **EXPERTS, head_dim=128, moe_intermediate_size=768, norm_topk_prob=True),
}
TOKENS = torch.randint(0, 256, (2, 17), generator=torch.Generator().manual_seed(0))


def mixed_plan(model: LoadedModel) -> dict[str, CandidateFormat]:
    """Every legal format of each group at random, one group left out."""
    chooser = random.Random(0)
    layers = model.description.layers
    plan = {}
    for group in RUNTIME.groups(layers)[1:]:
        legal = [fmt for fmt in all_formats() if all(RUNTIME.refusal(fmt, layers[i]) is None for i in group)]
        chosen = chooser.choice(legal)
        plan.update({layers[i].name: chosen for i in group})
    return plan


def write(model: LoadedModel, plan: Mapping[str, CandidateFormat], directory: Path, *, rounding: str = "rtn") -> Path:
    found = model.description
    exported = ExportedModel(found.fingerprint, found.source, found.architecture, found.dtype, found.layers)
    write_assignment(
        model,
        plan,
        get_exporter("llama.cpp").export(plan, exported, RUNTIME),
        directory,
        runtime=RUNTIME,
        rounding=LayerRounding.of_assignments(model, rounding, [plan]),
        writer=writer_for(RUNTIME, "llama.cpp"),
    )
    return directory / "model.gguf"


def written(source: Path, directory: Path) -> tuple[LoadedModel, dict[str, CandidateFormat], Path]:
    model = load_model(describe(str(source)))
    plan = mixed_plan(model)
    return model, plan, write(model, plan, directory)


@pytest.mark.parametrize("architecture", CONFIGS)
def test_the_file_loads_as_what_was_measured(tmp_path: Path, architecture: str) -> None:
    """Read back by our own loader, which is transformers': weights bit for bit, logits exactly."""
    source = write_model(tmp_path / "source", CONFIGS[architecture])
    model, plan, path = written(source, tmp_path / "written")
    loaded = load_model(describe(str(path)))
    rounding = LayerRounding.of_assignments(model, "rtn", [plan])
    expected = {name: rounding.fake_quantize(name, fmt) for name, fmt in plan.items()}
    for name, linear in loaded.linears.items():
        assert torch.equal(linear.weight, expected.get(name, model.weight(name))), name
    with torch.no_grad(), replaced_weights({model.linears[name]: weight for name, weight in expected.items()}):
        assert torch.equal(loaded.module(TOKENS).logits, model.module(TOKENS).logits)


@pytest.mark.parametrize("architecture", CONFIGS)
def test_types_and_bytes_are_those_of_the_plan(tmp_path: Path, architecture: str) -> None:
    model, plan, path = written(write_model(tmp_path / "source", CONFIGS[architecture]), tmp_path / "written")
    found = model.description
    names = tensor_names(ExportedModel(found.fingerprint, found.source, found.architecture, found.dtype, found.layers))
    tensors = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    bits = 0
    for layer in found.layers:
        fmt = plan.get(layer.name)
        kind = {"BF16": "BF16", "FP16": "F16"}.get(fmt.name, fmt.name) if fmt else "BF16"
        assert tensors[names[layer.name]].tensor_type.name == kind, layer.name
        bits += RUNTIME.size_bits(fmt, layer.shape) if fmt else 16 * layer.parameters
    rest = RUNTIME.rest_bytes(Rest(found.layers, found.parameters, found.unquantized_bytes, found.vocab_size, found.dtype))
    assert sum(int(tensor.n_bytes) for tensor in tensors.values()) == bits // 8 + rest
    others = {tensor.tensor_type for name, tensor in tensors.items() if name not in {*names.values(), "token_embd.weight"}}
    assert others == {GGMLQuantizationType.F32}


def test_the_experts_of_mixtral_are_stacked_in_their_order(tmp_path: Path) -> None:
    """transformers reads no experts of this architecture, so the file is held against what was measured by itself."""
    config = MixtralConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2)
    model, plan, path = written(write_model(tmp_path / "source", config), tmp_path / "written")
    rounding = LayerRounding.of_assignments(model, "rtn", [plan])
    tensors = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    for role, kind in (("w1", "gate"), ("w2", "down"), ("w3", "up")):
        stack = tensors[f"blk.1.ffn_{kind}_exps.weight"]
        decoded = torch.from_numpy(np.array(dequantize(stack.data, stack.tensor_type)))
        layers = [f"model.layers.1.block_sparse_moe.experts.{expert}.{role}" for expert in range(4)]
        assert torch.equal(decoded, torch.stack([rounding.fake_quantize(name, plan[name]) for name in layers]))
    fields = GGUFReader(path).fields
    assert fields["general.architecture"].contents() == "llama"
    assert fields["llama.expert_count"].contents() == 4
    assert fields["llama.expert_used_count"].contents() == 2


def test_biases_of_queries_and_keys_are_in_the_order_of_their_rows(tmp_path: Path) -> None:
    """transformers builds a Llama without biases from GGUF, so they are read by hand."""
    model, _, path = written(write_model(tmp_path / "source", LlamaConfig(**SIZES, attention_bias=True)), tmp_path / "written")
    tensors = {tensor.name: torch.from_numpy(np.array(tensor.data)) for tensor in GGUFReader(path).tensors}
    for role, heads in (("q", 4), ("k", 2)):
        pairs = tensors[f"blk.1.attn_{role}.bias"].view(heads, 8, 2)
        bias = model.linears[f"model.layers.1.self_attn.{role}_proj"].bias
        assert torch.equal(pairs.transpose(1, 2).flatten(), bias)
    assert torch.equal(tensors["blk.1.attn_v.bias"], model.linears["model.layers.1.self_attn.v_proj"].bias)


def test_the_scaled_rotary_embedding_of_llama_3_is_a_tensor_of_factors(tmp_path: Path) -> None:
    """As transformers scales the frequencies; from GGUF it reads none. Short, long and waves in between occur."""
    settings = {
        "rope_type": "llama3",
        "rope_theta": 500.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256,
    }
    config = LlamaConfig(**{**SIZES, "num_attention_heads": 2, "max_position_embeddings": 2048}, rope_parameters=settings)
    model, _, path = written(write_model(tmp_path / "source", config), tmp_path / "written")
    scaled = model.module.get_buffer("model.rotary_emb.inv_freq")
    plain = 500.0 ** -(torch.arange(0, 32, 2).double() / 32)
    found = next(tensor for tensor in GGUFReader(path).tensors if tensor.name == "rope_freqs.weight")
    factors = torch.from_numpy(np.array(found.data))
    assert torch.allclose(plain / factors.double(), scaled.double(), rtol=1e-6)
    assert float(factors.min()) == 1.0
    assert float(factors.max()) == 8.0
    assert ((factors > 1) & (factors < 8)).any()


def test_k_quants_of_a_rounding_method_that_searches_are_written_as_they_were_rounded(tmp_path: Path) -> None:
    model = load_model(describe(str(tiny_llama(tmp_path / "source", hidden=256, ffn=512, dtype=torch.float16))))
    plan = mixed_plan(model)
    assert {fmt.name for fmt in plan.values()} & {"Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"}
    loaded = load_model(describe(str(write(model, plan, tmp_path / "written", rounding="rtn_clip"))))
    rounding = LayerRounding.of_assignments(model, "rtn_clip", [plan])
    for name, fmt in plan.items():
        assert torch.equal(loaded.weight(name), rounding.fake_quantize(name, fmt)), name
    kinds = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(tmp_path / "written" / "model.gguf").tensors}
    assert {kinds[f"{name}.weight"] for name in ("token_embd", "blk.0.attn_q")} == {"F16"}  # the latter is left out of the plan


def test_a_gguf_is_written_anew_with_its_own_tokenizer(tmp_path: Path) -> None:
    source = tiny_gguf(tmp_path / "source.gguf")
    model, plan, path = written(source, tmp_path / "written")
    first, second = (
        {name: field.contents() for name, field in GGUFReader(one).fields.items() if name.startswith("tokenizer.")}
        for one in (source, path)
    )
    assert first == second
    loaded = load_model(describe(str(path)))
    rounding = LayerRounding.of_assignments(model, "rtn", [plan])
    for name, fmt in plan.items():
        assert torch.equal(loaded.weight(name), rounding.fake_quantize(name, fmt)), name


def test_the_metadata_are_the_models(tmp_path: Path) -> None:
    _, _, path = written(write_model(tmp_path / "source", CONFIGS["llama"]), tmp_path / "written")
    fields = {name: field.contents() for name, field in GGUFReader(path).fields.items() if name.startswith(("llama", "general"))}
    assert fields["llama.rope.freq_base"] == 5e5
    assert fields["llama.rope.dimension_count"] == 16
    assert fields["llama.attention.head_count_kv"] == 2
    assert fields["general.name"] == "source"
    assert "expert_count" not in " ".join(fields)


def test_what_the_configuration_leaves_out_is_what_transformers_assumes(tmp_path: Path) -> None:
    """A head of Qwen3 has 128 elements where nothing is said; a base of the rotary embedding may be said in former words."""
    source = write_model(tmp_path / "source", Qwen3Config(**SIZES, head_dim=128))
    edit_config(source, head_dim=None, rope_parameters=None, rope_theta=7e5)
    _, _, path = written(source, tmp_path / "written")
    fields = GGUFReader(path).fields
    assert fields["qwen3.attention.key_length"].contents() == 128
    assert fields["qwen3.rope.freq_base"].contents() == 7e5


def test_the_tokenizer_is_the_models(tmp_path: Path) -> None:
    source = tiny_llama(tmp_path / "source", vocab=264)
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"eos_token": "<|end|>"})
    tokenizer.add_tokens([AddedToken("<think>", normalized=False)])
    tokenizer.save_pretrained(source)
    edit_config(source, eos_token_id=None, bos_token_id=None)
    _, _, path = written(source, tmp_path / "written")
    fields = GGUFReader(path).fields
    tokens, types = fields["tokenizer.ggml.tokens"].contents(), fields["tokenizer.ggml.token_type"].contents()
    assert tokens[256:] == ["<|end|>", "<think>", *(f"[PAD{index}]" for index in range(258, 264))]
    assert types[255:259] == [TokenType.NORMAL, TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNUSED]
    assert fields["tokenizer.ggml.eos_token_id"].contents() == 256
    assert "tokenizer.ggml.pre" not in fields  # this split is nobody's
    loaded = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    assert loaded.encode("a word", add_special_tokens=False) == tokenizer.encode("a word", add_special_tokens=False)


def test_splits_are_known_by_themselves() -> None:
    """As the tokenizers of Qwen2, Llama 3, SmolLM2 and GPT-2 have them."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    for pattern, name in SPLITS.items():
        steps = [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}, byte_level]
        assert split_name({"type": "Sequence", "pretokenizers": steps}) == name
    digits = {"type": "Digits", "individual_digits": True}
    assert split_name({"type": "Sequence", "pretokenizers": [digits, {**byte_level, "use_regex": True}]}) == "smollm"
    assert split_name({"type": "Sequence", "pretokenizers": [digits, byte_level]}) is None
    assert split_name({**byte_level, "use_regex": True}) == "gpt-2"
    assert split_name(byte_level) is None
    assert split_name({"type": "Split", "pattern": {"Regex": "x"}}) is None
    assert split_name({}) is None


def _rope(directory: Path) -> None:
    edit_config(directory, rope_parameters={"rope_type": "yarn", "rope_theta": 5e5, "factor": 8.0})


def _sentencepiece(directory: Path) -> None:
    tokenizer = json.loads((directory / "tokenizer.json").read_text())
    tokenizer["model"]["byte_fallback"] = True
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))


def _large_tokenizer(directory: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["one more"])
    tokenizer.save_pretrained(directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_rope, r"its rotary embedding is scaled \(yarn\)"),
        (lambda directory: edit_config(directory, hidden_act="gelu"), "its activation is gelu"),
        (lambda directory: edit_config(directory, sliding_window=64), "slides over 64 tokens"),
        (lambda directory: (directory / "tokenizer.json").unlink(), "no tokenizer"),
        (_sentencepiece, "no byte-level BPE"),
        (lambda directory: (directory / "tokenizer.json").write_text("{"), "its JSON cannot be read"),
        (_large_tokenizer, "has the token 256, but the embedding has 256 rows"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    source = tiny_llama(tmp_path / "source", blocks=1)
    model = load_model(describe(str(source)))
    change(source)
    with pytest.raises(CheckpointError, match=message):
        write(model, mixed_plan(model), tmp_path / "written")
    assert not list(tmp_path.glob("*written*")) + list(tmp_path.glob(".*"))


def test_experts_that_llama_cpp_weighs_otherwise_are_refused(tmp_path: Path) -> None:
    config = Qwen3MoeConfig(**SIZES, **EXPERTS, moe_intermediate_size=64, norm_topk_prob=False)
    model = load_model(describe(str(write_model(tmp_path / "source", config))))
    with pytest.raises(CheckpointError, match=r"norm_topk_prob is False, where llama\.cpp assumes True"):
        write(model, mixed_plan(model), tmp_path / "written")


def test_other_architectures_are_refused_by_name(tmp_path: Path) -> None:
    model = load_model(describe(str(tiny_gpt2(tmp_path / "source", blocks=1))))
    with pytest.raises(CheckpointError, match=r"no GGUF file is written for gpt2, but for llama, .*without --checkpoint"):
        write(model, mixed_plan(model), tmp_path / "written")


def _of_numbers(directory: Path) -> None:
    path = directory / "tokenizer.json"
    found = json.loads(path.read_text())
    found["model"]["vocab"] = {"a": "0"}
    path.write_text(json.dumps(found))


def _without_words(directory: Path) -> None:
    path = directory / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"added_tokens": [{"id": 3}]}))


def _special_numbers(directory: Path) -> None:
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps(["no", "object"]))


def _no_table(directory: Path) -> None:
    path = directory / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model": ["BPE"]}))


def _no_unicode(directory: Path) -> None:
    path = directory / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"added_tokens": [{"id": 3, "content": "\ud800"}]}))


@pytest.mark.parametrize(
    "change", [_sentencepiece, _large_tokenizer, _of_numbers, _without_words, _special_numbers, _no_table, _no_unicode]
)
def test_a_tokenizer_that_is_not_written_is_refused_before_weights_are_rounded(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    source = tiny_llama(tmp_path / "source", blocks=1)
    assert inspect(str(source)).tokenizer_bytes is not None
    change(source)
    description = inspect(str(source))
    assert description.tokenizer_bytes is None
    with pytest.raises(CheckpointError, match="token"):
        writer_for(RUNTIME, "llama.cpp").check(description)


def test_a_vocabulary_beyond_all_bounds_is_not_listed(tmp_path: Path) -> None:
    assert tokenizer_bytes(tiny_llama(tmp_path / "source", blocks=1), 2**31) is None


def test_a_gguf_needs_a_token_for_each_row_of_its_embedding(tmp_path: Path) -> None:
    path = tiny_gguf(tmp_path / "source.gguf", blocks=1)
    description = describe(str(path))
    writer_for(RUNTIME, "llama.cpp").check(description)
    rest = [replace(tensor, shape=(257, 64)) if "embed" in tensor.name else tensor for tensor in description.rest or ()]
    with pytest.raises(CheckpointError, match="256 tokens, but its embedding has 257 rows"):
        writer_for(RUNTIME, "llama.cpp").check(replace(description, rest=tuple(rest)))
    with pytest.raises(CheckpointError, match="no GGUF file is written for gpt2"):
        writer_for(RUNTIME, "llama.cpp").check(replace(description, architecture="gpt2"))


def test_rest_bytes_count_norms_in_float32() -> None:
    model = example_model()
    layers = sum(layer.parameters for layer in model.layers)
    rest = Rest(model.layers, layers + 50 * 64 + 5 * 64, 2 * (50 * 64 + 5 * 64), 50, "bfloat16")
    assert RUNTIME.rest_bytes(rest) == 2 * 50 * 64 + 4 * 5 * 64
    assert get_runtime("vllm").rest_bytes(rest) == rest.unquantized_bytes
    assert RUNTIME.rest_bytes(Rest(model.layers, rest.parameters, 0, 50, "float32")) == 4 * 55 * 64
