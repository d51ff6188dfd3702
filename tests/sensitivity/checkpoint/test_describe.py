"""Descriptions against what transformers itself builds from the same files."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from gguf import GGUFReader
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from sensitivity.checkpoint import Layer, ModelDescription, SourceKind, describe
from sensitivity.loading.stored_state import StoredState
from tests.sensitivity.checkpoint.sparse_checkpoints import llama_70b, qwen3_235b
from tests.tiny_models import BUILDERS, edit_config, shards, tiny_gguf, tiny_gpt2, tiny_llama, tiny_mixtral, tiny_qwen2_moe

UNTIED = {"llama", "phi3", "gpt_neox", "mixtral", "qwen2_moe", "qwen3_moe"}


def by_name(description: ModelDescription) -> dict[str, Layer]:
    return {layer.name: layer for layer in description.layers}


@pytest.mark.parametrize("family", BUILDERS)
def test_parameters_and_bytes_are_those_that_transformers_counts(family: str, tmp_path: Path) -> None:
    description = describe(str(BUILDERS[family](tmp_path / family)))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / family)
    total = sum(parameter.numel() for parameter in model.parameters())
    quantizable = sum(layer.parameters for layer in description.layers)
    assert description.parameters == total
    assert description.unquantized_bytes == 2 * (total - quantizable)
    layers = {f"{layer.name}.weight" for layer in description.layers}
    rest = {name: tuple(parameter.shape) for name, parameter in StoredState(tmp_path / family).items() if name not in layers}
    assert {tensor.name: tensor.shape for tensor in description.rest or ()} == rest
    assert sum(tensor.elements for tensor in description.rest or ()) == total - quantizable
    assert description.blocks == 2
    assert description.vocab_size == 256
    assert description.context_length == 512
    assert description.dtype == "bfloat16"
    assert description.architecture == family
    assert description.kind is SourceKind.SAFETENSORS
    assert (description.layers[-1].kind == "lm_head") == (family in UNTIED)


@pytest.mark.parametrize("family", BUILDERS)
def test_cache_elements_are_those_of_a_real_cache(family: str, tmp_path: Path) -> None:
    description = describe(str(BUILDERS[family](tmp_path / family)))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / family)
    cache = model(torch.zeros(1, 1, dtype=torch.int64), use_cache=True).past_key_values
    assert description.kv_elements_per_token == sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)


def test_layers_come_in_model_order_with_the_shapes_of_the_file(tmp_path: Path) -> None:
    description = describe(str(tiny_llama(tmp_path / "m", kv_heads=1)))
    roles = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    roles += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    expected = [f"model.layers.{block}.{role}" for block in (0, 1) for role in roles]
    assert [layer.name for layer in description.layers] == [*expected, "lm_head"]
    with safe_open(shards(tmp_path / "m")[0], "np") as file:
        for layer in description.layers:
            assert list(layer.shape) == file.get_slice(f"{layer.name}.weight").get_shape()
    assert description.layers[8] == Layer("model.layers.1.self_attn.k_proj", "k_proj", 1, None, 16, 64)
    assert description.layers[-1].block is None


def test_conv1d_is_turned_to_out_by_in(tmp_path: Path) -> None:
    layers = by_name(describe(str(tiny_gpt2(tmp_path / "m"))))
    assert layers["transformer.h.0.attn.c_attn"].shape == (192, 64)
    assert layers["transformer.h.0.mlp.c_proj"].shape == (64, 256)
    assert "lm_head" not in layers


def test_a_checkpoint_of_the_bare_model_gets_full_names_and_loses_its_masks(tmp_path: Path) -> None:
    whole = describe(str(tiny_gpt2(tmp_path / "m")))
    file = shards(tmp_path / "m")[0]
    bare = {name.removeprefix("transformer."): tensor for name, tensor in load_file(file).items()}
    masks = {f"h.{block}.attn.bias": torch.ones(1, 1, 8, 8) for block in (0, 1)}
    save_file(bare | masks, file)
    description = describe(str(tmp_path / "m"))
    assert description.layers == whole.layers
    assert description.unquantized_bytes == whole.unquantized_bytes
    assert description.parameters == whole.parameters


def test_experts_have_their_own_layers_and_the_router_has_none(tmp_path: Path) -> None:
    description = describe(str(tiny_mixtral(tmp_path / "m", experts=4, top_k=1)))
    expert = by_name(description)["model.layers.1.block_sparse_moe.experts.3.w2"]
    assert expert == Layer(expert.name, "w2", 1, 3, 64, 128, 0.25)
    assert sum(layer.expert is not None for layer in description.layers) == 2 * 4 * 3
    assert not any(layer.name.endswith("gate") for layer in description.layers)


def test_dense_blocks_and_shared_experts_of_a_mixture(tmp_path: Path) -> None:
    layers = by_name(describe(str(tiny_qwen2_moe(tmp_path / "m"))))
    assert layers["model.layers.0.mlp.gate_proj"].expert is None
    assert layers["model.layers.1.mlp.shared_expert.down_proj"].active_fraction == 1.0
    assert layers["model.layers.1.mlp.experts.2.up_proj"].active_fraction == 0.5
    assert "model.layers.1.mlp.shared_expert_gate" not in layers


def test_a_tied_head_that_is_stored_too_counts_once(tmp_path: Path) -> None:
    tied = describe(str(tiny_llama(tmp_path / "m", tied=True)))
    file = shards(tmp_path / "m")[0]
    tensors = load_file(file)
    save_file(tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, file)
    both = describe(str(tmp_path / "m"))
    assert (both.layers, both.parameters, both.unquantized_bytes) == (tied.layers, tied.parameters, tied.unquantized_bytes)
    assert both.fingerprint != tied.fingerprint


@pytest.mark.parametrize(("family", "tied"), [("gemma2", True), ("qwen3", False)])
def test_without_a_word_on_tying_the_family_decides(family: str, tied: bool, tmp_path: Path) -> None:
    BUILDERS[family](tmp_path / "m")
    edit_config(tmp_path / "m", tie_word_embeddings=None)
    if tied:
        assert describe(str(tmp_path / "m")).layers[-1].kind == "down_proj"
    else:
        with pytest.raises(Exception, match="set tie_word_embeddings to true"):
            describe(str(tmp_path / "m"))


def test_sharded_and_whole_hold_the_same(tmp_path: Path) -> None:
    whole, sharded = describe(str(tiny_llama(tmp_path / "a"))), describe(str(tiny_llama(tmp_path / "b", sharded=True)))
    assert len(shards(tmp_path / "b")) > 1
    assert whole.layers == sharded.layers
    assert whole.unquantized_bytes == sharded.unquantized_bytes


@pytest.mark.parametrize("tied", [False, True])
def test_gguf_holds_what_its_safetensors_hold(tied: bool, tmp_path: Path) -> None:
    gguf = describe(str(tiny_gguf(tmp_path / "m.gguf", tied=tied)))
    original = describe(str(tmp_path / "m"))
    assert gguf.kind is SourceKind.GGUF
    assert gguf.layers == original.layers
    assert gguf.parameters == original.parameters
    assert gguf.unquantized_bytes == original.unquantized_bytes  # 16 bits an element, though the file's norms are float32
    assert gguf.kv_elements_per_token == original.kv_elements_per_token
    assert gguf.context_length == original.context_length
    assert gguf.vocab_size == original.vocab_size
    assert gguf.dtype == "bfloat16"
    assert sorted(gguf.rest or (), key=str) == sorted(original.rest or (), key=str)  # under the same names
    fields = [field for name, field in GGUFReader(tmp_path / "m.gguf").fields.items() if name.startswith("tokenizer.")]
    assert gguf.tokenizer_bytes == sum(int(part.nbytes) for field in fields for part in field.parts)


def test_what_is_no_layer_counts_in_the_dtype_that_most_weights_have(tmp_path: Path) -> None:
    """As it is written in a new checkpoint: norms that a checkpoint keeps in float32 are half as large there."""
    whole = describe(str(tiny_llama(tmp_path / "m")))
    path = tmp_path / "m" / "model.safetensors"
    state = {name: tensor.float() if "norm" in name else tensor for name, tensor in load_file(path).items()}
    save_file(state, path, {"format": "pt"})
    mixed = describe(str(tmp_path / "m"))
    assert (mixed.dtype, mixed.unquantized_bytes, mixed.rest) == ("bfloat16", whole.unquantized_bytes, mixed.rest)
    assert set(mixed.rest or ()) == set(whole.rest or ())
    assert mixed.embedding_rows == mixed.vocab_size


def test_a_70b_directory_is_described_in_seconds(tmp_path: Path) -> None:
    llama_70b(tmp_path / "m")
    start = time.perf_counter()
    description = describe(str(tmp_path / "m"))
    assert time.perf_counter() - start < 5
    assert description.parameters == 70_553_706_496
    assert len(description.layers) == 80 * 7 + 1
    assert description.unquantized_bytes == 2 * (128256 * 8192 + (2 * 80 + 1) * 8192)
    assert description.kv_elements_per_token == 80 * 2 * 8 * 128
    assert (description.heads, description.kv_heads) == (64, 8)


def test_a_mixture_of_36000_matrices_is_described_in_seconds(tmp_path: Path) -> None:
    qwen3_235b(tmp_path / "m")
    start = time.perf_counter()
    description = describe(str(tmp_path / "m"))
    assert time.perf_counter() - start < 20
    assert len(description.layers) == 94 * (4 + 3 * 128) + 1
    assert description.parameters == pytest.approx(235.1e9, rel=1e-3)


def test_describing_imports_no_torch() -> None:
    code = "import sys, sensitivity.checkpoint; sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
