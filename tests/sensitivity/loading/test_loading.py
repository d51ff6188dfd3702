"""Loading: the model is the one transformers loads, but every layer is one linear."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.utils import logging

from sensitivity.checkpoint import describe
from sensitivity.checkpoint.description import Layer
from sensitivity.checkpoint.families import FAMILIES
from sensitivity.errors import CheckpointError, CorruptCheckpointError
from sensitivity.loading import LoadedModel, load_model
from tests.tiny_models import (
    BUILDERS,
    build,
    edit_config,
    poison,
    shards,
    tiny_gguf,
    tiny_llama,
    tiny_qwen3,
    truncate,
    write_model,
)

SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 256}
TOKENS = torch.randint(0, 256, (3, 33), generator=torch.Generator().manual_seed(0))


def _reference(directory: Path) -> nn.Module:
    module: nn.Module = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    return module.eval()


@torch.no_grad()
def _logits(module: nn.Module) -> torch.Tensor:
    logits: torch.Tensor = module(TOKENS).logits
    return logits


def _stored(directory: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.float() for path in shards(directory) for name, tensor in load_file(path).items()}


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, LoadedModel]:
    directory = build(request.param, tmp_path_factory.mktemp(request.param))
    return request.param, directory, load_model(describe(str(directory)))


def test_logits_are_those_of_transformers(family: tuple[str, Path, LoadedModel]) -> None:
    _, directory, model = family
    torch.testing.assert_close(_logits(model.module), _logits(_reference(directory)), rtol=1e-5, atol=1e-5)


def test_every_layer_is_a_linear_that_holds_the_stored_weight(family: tuple[str, Path, LoadedModel]) -> None:
    name, directory, model = family
    stored = _stored(directory)
    assert list(model.linears) == [layer.name for layer in model.description.layers]
    for layer in model.description.layers:
        linear = model.linears[layer.name]
        weight = stored[f"{layer.name}.weight"]
        assert type(linear) is nn.Linear
        assert tuple(linear.weight.shape) == layer.shape
        assert torch.equal(linear.weight, weight.T if name == "gpt2" else weight)


def test_linears_are_distinct_modules_of_the_model(family: tuple[str, Path, LoadedModel]) -> None:
    _, _, model = family
    modules = {id(module) for module in model.module.modules()}
    assert len({id(linear) for linear in model.linears.values()}) == len(model.linears)
    assert all(id(linear) in modules for linear in model.linears.values())


def test_blocks_hold_their_layers(family: tuple[str, Path, LoadedModel]) -> None:
    _, _, model = family
    assert len(model.blocks) == model.description.blocks == 2
    for layer in model.description.layers:
        assert model.block_of(layer.name) == layer.block
        if layer.block is not None:
            assert id(model.linears[layer.name]) in {id(module) for module in model.blocks[layer.block].modules()}


def test_is_ready_to_measure(family: tuple[str, Path, LoadedModel]) -> None:
    _, _, model = family
    assert not model.module.training
    for name, parameter in model.module.named_parameters():
        assert parameter.dtype is torch.float32, name
        assert not parameter.requires_grad, name
    assert model.tokenizer.encode("Héé", add_special_tokens=False) == [39, 127, 102, 127, 102]


def test_gradients_reach_every_linear(family: tuple[str, Path, LoadedModel]) -> None:
    _, directory, _ = family
    model = load_model(describe(str(directory)))
    for linear in model.linears.values():
        linear.weight.requires_grad_()
    model.module(TOKENS).logits.square().mean().backward()
    for name, linear in model.linears.items():
        assert linear.weight.grad is not None, name
        assert linear.weight.grad.isfinite().all(), name


@pytest.mark.parametrize("name", ["mixtral", "qwen2_moe", "qwen3_moe"])
def test_gradients_of_experts_are_those_of_the_fused_parameters(tmp_path: Path, name: str) -> None:
    directory = BUILDERS[name](tmp_path)
    model, reference = load_model(describe(str(directory))), _reference(directory)
    for linear in model.linears.values():
        linear.weight.requires_grad_()
    for module in (model.module, reference):
        module(TOKENS).logits.square().mean().backward()
    fused = reference.get_submodule("model.layers.1.mlp.experts")
    gate_up, down = fused.gate_up_proj, fused.down_proj
    assert isinstance(gate_up, nn.Parameter)
    assert isinstance(down, nn.Parameter)
    assert gate_up.grad is not None
    assert down.grad is not None
    for layer in model.description.layers:
        if layer.block != 1 or layer.expert is None:
            continue
        gate, up = gate_up.grad[layer.expert].chunk(2)
        roles = {"gate_proj": gate, "w1": gate, "up_proj": up, "w3": up}
        expected = roles.get(layer.kind, down.grad[layer.expert])
        torch.testing.assert_close(model.linears[layer.name].weight.grad, expected, rtol=1e-4, atol=1e-7)


def test_a_changed_linear_changes_the_model(tmp_path: Path) -> None:
    model = load_model(describe(str(BUILDERS["mixtral"](tmp_path))))
    before = _logits(model.module)
    for layer in model.description.layers[::5]:
        weight = model.linears[layer.name].weight
        kept = weight.clone()
        weight.mul_(1.01)
        assert not torch.equal(_logits(model.module), before), layer.name
        weight.copy_(kept)
    assert torch.equal(_logits(model.module), before)


def test_gguf_is_the_checkpoint_that_it_was_made_from(tmp_path: Path) -> None:
    path = tiny_gguf(tmp_path / "tiny.gguf")
    model, original = load_model(describe(str(path))), load_model(describe(str(path.with_suffix(""))))
    assert list(model.linears) == list(original.linears)
    for name, linear in model.linears.items():
        assert torch.equal(linear.weight, original.linears[name].weight), name
    assert torch.equal(_logits(model.module), _logits(original.module))
    assert model.tokenizer.encode("Hé", add_special_tokens=False) == original.tokenizer.encode("Hé", add_special_tokens=False)


def test_a_sharded_checkpoint_is_loaded_whole(tmp_path: Path) -> None:
    whole, sharded = tiny_llama(tmp_path / "whole"), tiny_llama(tmp_path / "sharded", sharded=True)
    assert len(shards(sharded)) > 2
    assert torch.equal(_logits(load_model(describe(str(sharded))).module), _logits(load_model(describe(str(whole))).module))


def test_only_the_layers_asked_for_are_listed(tmp_path: Path) -> None:
    description = describe(str(tiny_llama(tmp_path)))
    names = {"model.layers.1.mlp.down_proj", "model.layers.0.self_attn.q_proj"}
    assert list(load_model(description, layers=names).linears) == sorted(names)
    with pytest.raises(CheckpointError, match=r"has no layer nowhere; use names of its description, such as model\.layers\.0"):
        load_model(description, layers=["nowhere"])


def test_block_of_refuses_an_unknown_layer(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no layer nowhere"):
        load_model(describe(str(tiny_llama(tmp_path)))).block_of("nowhere")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("tensor", ["model.layers.1.mlp.up_proj.weight", "model.norm.weight", "model.embed_tokens.weight"])
def test_refuses_weights_that_are_not_finite(tmp_path: Path, tensor: str, value: float) -> None:
    directory = tiny_llama(tmp_path)
    poison(shards(directory)[0], tensor, value=value)
    with pytest.raises(CorruptCheckpointError, match=rf"{tensor} of .* holds NaN or infinite weights"):
        load_model(describe(str(directory)))


def test_names_the_expert_that_is_not_finite_as_the_checkpoint_does(tmp_path: Path) -> None:
    directory = BUILDERS["mixtral"](tmp_path)
    poison(shards(directory)[0], "model.layers.0.block_sparse_moe.experts.2.w3.weight")
    with pytest.raises(CorruptCheckpointError, match=r"block_sparse_moe\.experts\.2\.w3\.weight of"):
        load_model(describe(str(directory)))


def test_accepts_large_finite_weights(tmp_path: Path) -> None:
    """Their float32 sum overflows, they do not."""
    directory = tiny_llama(tmp_path)
    state = load_file(shards(directory)[0])
    state["model.norm.weight"].fill_(3e38)
    save_file(state, shards(directory)[0], metadata={"format": "pt"})
    assert not load_model(describe(str(directory))).module.get_parameter("model.norm.weight").sum().isfinite()


def _cut_shard(directory: Path) -> None:
    truncate(shards(directory)[0])


def _remove_norm(directory: Path) -> None:
    state = load_file(shards(directory)[0])
    del state["model.norm.weight"]
    save_file(state, shards(directory)[0], metadata={"format": "pt"})


def _reshape_norm(directory: Path) -> None:
    state = load_file(shards(directory)[0])
    state["model.norm.weight"] = torch.ones(65, dtype=torch.bfloat16)
    save_file(state, shards(directory)[0], metadata={"format": "pt"})


def _remove_weights(directory: Path) -> None:
    shards(directory)[0].unlink()


def _other_architecture(directory: Path) -> None:
    edit_config(directory, model_type="no_such_model")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut_shard, "cannot be loaded .*incomplete metadata.*; fetch its files again"),
        (_remove_norm, r"lacks tensors of its architecture \(model.norm.weight\)"),
        (_reshape_norm, r"stores model.norm.weight as \(65,\) instead of \(64,\), as its configuration says"),
        (partial(edit_config, num_attention_heads=8), r"o_proj.weight as \(64, 64\) instead of \(64, 128\), as its"),
        (_remove_weights, "cannot be loaded"),
        (_other_architecture, "cannot be loaded .*no_such_model"),
    ],
)
def test_refuses_what_was_damaged_since_it_was_described(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    directory = tiny_llama(tmp_path)
    description = describe(str(directory))
    damage(directory)
    with pytest.raises(CorruptCheckpointError, match=message):
        load_model(description)


@pytest.mark.parametrize("streamed", [False, True])
def test_refuses_tensors_of_a_block_that_have_no_place(tmp_path: Path, streamed: bool) -> None:
    """They would be left out without a word, and every number would be that of another model."""
    biased = write_model(tmp_path / "biased", LlamaConfig(**SIZES, attention_bias=True))
    edit_config(biased, attention_bias=False)
    with pytest.raises(CorruptCheckpointError, match=r"does not have \(model\.layers\.0\.self_attn\.k_proj\.bias, "):
        load_model(describe(str(biased)), streamed=streamed)
    normalised = tiny_qwen3(tmp_path / "normalised")
    edit_config(normalised, model_type="llama", architectures=["LlamaForCausalLM"])
    with pytest.raises(CorruptCheckpointError, match=r"does not have \(model\.layers\.0\.self_attn\.k_norm\.weight, "):
        load_model(describe(str(normalised)), streamed=streamed)


@pytest.mark.parametrize("streamed", [False, True])
def test_what_does_not_change_the_numbers_may_be_stored_too(tmp_path: Path, streamed: bool) -> None:
    """Rotary tables of old checkpoints, the value head of a model that was trained on preferences."""
    directory = tiny_llama(tmp_path)
    path, expected = shards(directory)[0], _logits(_reference(directory))
    rotary = {f"model.layers.1.self_attn.rotary_emb.{name}": torch.ones(8) for name in ("inv_freq", "cos_cached")}
    further = {**rotary, "v_head.summary.weight": torch.ones(1, 64)}
    save_file({**load_file(path), **further}, path, metadata={"format": "pt"})
    model = load_model(describe(str(directory)), streamed=streamed)
    if not streamed:
        assert torch.equal(_logits(model.module), expected)


def test_refuses_a_head_that_is_stored_beside_an_embedding_it_should_be(tmp_path: Path) -> None:
    directory = tiny_llama(tmp_path, tied=True)
    path, state = shards(directory)[0], load_file(shards(directory)[0])
    embedding = state["model.embed_tokens.weight"]
    save_file({**state, "lm_head.weight": embedding.clone()}, path, metadata={"format": "pt"})
    description = describe(str(directory))
    assert all(layer.kind != "lm_head" for layer in description.layers)
    assert torch.equal(_logits(load_model(description).module), _logits(_reference(directory)))
    save_file({**state, "lm_head.weight": embedding + 1}, path, metadata={"format": "pt"})
    with pytest.raises(CorruptCheckpointError, match="set tie_word_embeddings to false"):
        load_model(description)


def test_refuses_a_description_of_another_model(tmp_path: Path) -> None:
    description = describe(str(tiny_llama(tmp_path)))
    with pytest.raises(CorruptCheckpointError, match="no list of 5 blocks"):
        load_model(replace(description, blocks=5))
    for layer in (
        Layer("model.layers.0.self_attn.x_proj", "x_proj", 0, None, 64, 64),
        Layer("model.layers.0.mlp.experts.0.up_proj", "up_proj", 0, 0, 64, 64),
        replace(description.layers[0], out_features=65),
    ):
        with pytest.raises(CorruptCheckpointError, match=f"no linear of shape .* at {layer.name}"):
            load_model(replace(description, layers=(layer,)))


@pytest.mark.parametrize("build", [tiny_llama, tiny_qwen3])
def test_a_model_without_tokenizer_loads_and_says_so_when_asked(tmp_path: Path, build: Callable[[Path], Path]) -> None:
    """For some architectures transformers raises, for others it makes up a tokenizer without words."""
    directory = build(tmp_path)
    for path in directory.glob("tokenizer*"):
        path.unlink()
    model = load_model(describe(str(directory)))
    with pytest.raises(CheckpointError, match=r"no tokenizer that can be read .*; put its files beside the weights"):
        _ = model.tokenizer


def test_says_nothing_and_leaves_the_logging_as_it_was(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    directory = tiny_llama(tmp_path / "a")
    path = tiny_gguf(tmp_path / "b.gguf")
    descriptions = [describe(str(directory)), describe(str(path))]
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    capfd.readouterr()
    for description in descriptions:
        _ = load_model(description).tokenizer
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
