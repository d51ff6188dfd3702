"""GGUF of every architecture that is known: the same model as its safetensors, or refused."""

from pathlib import Path

import gguf
import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
    Qwen3MoeConfig,
)

from sensitivity.checkpoint import describe
from sensitivity.checkpoint.families import GGUF_ARCHITECTURES
from sensitivity.errors import CorruptCheckpointError, UnknownArchitectureError
from sensitivity.loading import load_model
from tests.sensitivity.loading.gguf_files import write_pair

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 512,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}
# Sizes that transformers does not read from GGUF stay at its defaults: head_dim and moe_intermediate_size of Qwen, the query
# scale of Gemma, and Phi-3's vocabulary, which must hold its padding token.
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SIZES),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=128),
    "gemma2": Gemma2Config(**SIZES, head_dim=16, sliding_window=8),
    "gemma3": Gemma3TextConfig(**SIZES, head_dim=16, sliding_window=8),
    "phi3": Phi3Config(**{**SIZES, "vocab_size": 32_064}),
    "qwen2moe": Qwen2MoeConfig(**SIZES, **EXPERTS, moe_intermediate_size=1408, shared_expert_intermediate_size=5632),
    "qwen3moe": Qwen3MoeConfig(**SIZES, **EXPERTS, head_dim=16, moe_intermediate_size=768, norm_topk_prob=True),
}
TOKENS = torch.randint(0, 256, (2, 17), generator=torch.Generator().manual_seed(0))


def test_every_architecture_is_tested() -> None:
    assert set(CONFIGS) == set(GGUF_ARCHITECTURES)


@pytest.mark.parametrize("architecture", [name for name in CONFIGS if name != "llama"])
def test_is_the_checkpoint_that_it_was_made_from(tmp_path: Path, architecture: str) -> None:
    """Llama, whose q and k are stored in another order, has a test of its own beside the other loading tests."""
    checkpoint, path = write_pair(tmp_path, architecture, CONFIGS[architecture])
    first, second = describe(str(checkpoint)), describe(str(path))
    for field in ("architecture", "layers", "parameters", "blocks", "kv_elements_per_token", "vocab_size", "context_length"):
        assert getattr(first, field) == getattr(second, field)
    assert first.unquantized_bytes == second.unquantized_bytes
    original, model = load_model(first), load_model(second)
    for name, linear in model.linears.items():
        assert torch.equal(linear.weight, original.linears[name].weight), name
    with torch.no_grad():
        assert torch.equal(model.module(TOKENS).logits, original.module(TOKENS).logits)


def test_a_shape_that_transformers_does_not_read_is_refused_at_load(tmp_path: Path) -> None:
    config = Qwen3MoeConfig(**SIZES, **EXPERTS, head_dim=16, moe_intermediate_size=32)
    _, path = write_pair(tmp_path, "qwen3moe", config)
    with pytest.raises(CorruptCheckpointError, match=r"cannot be loaded .*; fetch it again, or register the model's safetensors"):
        load_model(describe(str(path)))


@pytest.mark.parametrize(
    ("architecture", "fields", "message"),
    [
        ("llama", {"rope__scaling__type": "linear"}, "scales its rotary embedding"),
        ("qwen2", {"rope__scaling__type": "yarn"}, "scales its rotary embedding"),
        ("gemma3", {"rope__scaling__type": "linear"}, "scales its rotary embedding"),
        ("llama", {"rope__scale_linear": 4.0}, "scales its rotary embedding"),
        ("gemma2", {"attn_logit_softcapping": 40.0}, "has attn_logit_softcapping = 40.0 instead of 50.0"),
        ("gemma2", {"final_logit_softcapping": 20.0}, "has final_logit_softcapping = 20.0 instead of 30.0"),
    ],
)
def test_what_transformers_would_get_wrong_without_a_word_is_refused(
    tmp_path: Path, architecture: str, fields: dict[str, float | str], message: str
) -> None:
    _, path = write_pair(tmp_path, architecture, CONFIGS[architecture], **fields)
    with pytest.raises(
        UnknownArchitectureError, match=f"{message}, which is not read from GGUF; register the model's safetensors"
    ):
        describe(str(path))


@pytest.mark.parametrize(
    ("architecture", "fields"),
    [
        ("llama", {"rope__scaling__type": "none", "rope__scale_linear": 1.0}),
        ("gemma2", {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}),
    ],
)
def test_what_transformers_assumes_anyway_is_accepted(tmp_path: Path, architecture: str, fields: dict[str, float | str]) -> None:
    _, path = write_pair(tmp_path, architecture, CONFIGS[architecture], **fields)
    assert describe(str(path)).blocks == 2


def _header_only(path: Path, architecture: str, blocks: int, tensors: list[str]) -> str:
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_block_count(blocks)
    for name in tensors:
        writer.add_tensor(name, torch.ones(4).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)


@pytest.mark.parametrize("name", ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"])
def test_factors_of_the_rotary_embedding_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnknownArchitectureError, match="holds factors of its rotary embedding"):
        describe(_header_only(tmp_path / "m.gguf", "llama", 2, [name]))


@pytest.mark.parametrize(("architecture", "blocks"), [("gemma2", 46), ("gemma3", 62)])
def test_gemma_27b_is_refused(tmp_path: Path, architecture: str, blocks: int) -> None:
    with pytest.raises(UnknownArchitectureError, match="is a 27B model with a query scale of its own"):
        describe(_header_only(tmp_path / "m.gguf", architecture, blocks, ["token_embd.weight"]))
