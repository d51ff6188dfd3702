"""Streamed models: the same bits as a model that is loaded whole, with one block in memory."""

from pathlib import Path

import pytest
import torch
from torch import nn

from sensitivity.checkpoint import describe
from sensitivity.checkpoint.families import FAMILIES
from sensitivity.errors import CheckpointError, CorruptCheckpointError
from sensitivity.loading import LoadedModel, load_model
from tests.tiny_models import BUILDERS, build, edit_config, poison, shards, tiny_gguf, tiny_llama, truncate


def _in_memory(block: nn.Module) -> bool:
    present = {not parameter.is_meta for parameter in block.parameters()}
    assert len(present) == 1
    return present.pop()


def _streamed(directory: Path) -> LoadedModel:
    return load_model(describe(str(directory)), streamed=True)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_parameter_and_buffer_is_that_of_the_whole_model(tmp_path: Path, family: str) -> None:
    description = describe(str(build(family, tmp_path / family)))
    whole, streamed = load_model(description), load_model(description, streamed=True)
    assert list(streamed.linears) == list(whole.linears)
    outside = {name for name, parameter in streamed.module.named_parameters() if not parameter.is_meta}
    blocks = {id(parameter) for block in streamed.blocks for parameter in block.parameters()}
    assert outside == {name for name, parameter in streamed.module.named_parameters() if id(parameter) not in blocks}
    for index in range(len(whole.blocks)):
        streamed.block(index)
        expected = whole.module.state_dict()
        found = {name: tensor for name, tensor in streamed.module.state_dict().items() if not tensor.is_meta}
        assert outside < found.keys()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())
        for (name, buffer), (_, other) in zip(whole.module.named_buffers(), streamed.module.named_buffers(), strict=True):
            assert torch.equal(buffer, other), name
    for layer in whole.linears:
        assert torch.equal(streamed.weight(layer), whole.weight(layer))
    assert not any(parameter.requires_grad for parameter in streamed.module.parameters())
    assert not streamed.module.training
    assert streamed.module.config.use_cache is False  # type: ignore[union-attr]


def test_one_block_is_in_memory_and_it_is_read_once(tmp_path: Path) -> None:
    model = _streamed(tiny_llama(tmp_path / "m", blocks=3, sharded=True))
    stream = model.stream
    assert stream is not None
    assert [_in_memory(block) for block in model.blocks] == [False, False, False]
    linears = dict(model.linears)
    for index, reads in ((0, 1), (0, 1), (2, 2), (1, 3), (2, 4)):
        assert model.block(index) is model.blocks[index]
        assert [_in_memory(block) for block in model.blocks] == [other == index for other in range(3)]
        assert stream.reads == reads
    model.weight("lm_head")
    assert stream.reads == 4
    assert linears == model.linears


def test_a_bare_model_without_its_prefix(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    directory = BUILDERS["qwen3"](tmp_path / "m")
    expected = load_model(describe(str(directory)))
    path = shards(directory)[0]
    save_file({name.removeprefix("model."): tensor for name, tensor in load_file(path).items()}, path, {"format": "pt"})
    streamed = _streamed(directory)
    assert all(torch.equal(streamed.weight(layer), expected.weight(layer)) for layer in expected.linears)


def test_layers_are_listed_as_asked(tmp_path: Path) -> None:
    description = describe(str(tiny_llama(tmp_path / "m")))
    name = "model.layers.1.mlp.up_proj"
    assert list(load_model(description, layers=[name], streamed=True).linears) == [name]


def test_a_gguf_file_is_refused_with_advice(tmp_path: Path) -> None:
    description = describe(str(tiny_gguf(tmp_path / "m.gguf")))
    with pytest.raises(CheckpointError, match="safetensors checkpoint to stream it, or set streaming to never"):
        load_model(description, streamed=True)


def test_a_block_with_nan_is_refused_when_it_is_read_and_nothing_of_it_stays(tmp_path: Path) -> None:
    directory = tiny_llama(tmp_path / "m")
    poison(shards(directory)[0], "model.layers.1.mlp.up_proj.weight")
    model = _streamed(directory)
    model.block(0)
    for _ in range(2):
        with pytest.raises(CorruptCheckpointError, match=r"model\.layers\.1\.mlp\.up_proj\.weight .* NaN or infinite"):
            model.block(1)
        assert not any(_in_memory(block) for block in model.blocks)
    assert _in_memory(model.block(0))


def test_nan_outside_the_blocks_is_refused_at_once(tmp_path: Path) -> None:
    directory = tiny_llama(tmp_path / "m")
    poison(shards(directory)[0], "lm_head.weight")
    with pytest.raises(CorruptCheckpointError, match=r"lm_head\.weight .* NaN or infinite"):
        _streamed(directory)


def test_a_file_that_shrinks_or_goes_meanwhile(tmp_path: Path) -> None:
    directory = tiny_llama(tmp_path / "m")
    model = _streamed(directory)
    path = shards(directory)[0]
    truncate(path, by=path.stat().st_size - 2000)
    with pytest.raises(CorruptCheckpointError, match="ends within"):
        model.block(1)
    path.unlink()
    with pytest.raises(CorruptCheckpointError, match="cannot be read"):
        model.block(1)


def test_a_parameter_that_is_not_stored(tmp_path: Path) -> None:
    """A bias that the configuration asks for and no tensor gives would otherwise be empty."""
    directory = tiny_llama(tmp_path / "m")
    edit_config(directory, attention_bias=True)
    with pytest.raises(CorruptCheckpointError, match=r"lacks tensors of its architecture .*bias"):
        _streamed(directory)


def test_a_parameter_of_another_shape(tmp_path: Path) -> None:
    directory = BUILDERS["qwen3"](tmp_path / "m")
    edit_config(directory, vocab_size=300)
    with pytest.raises(CorruptCheckpointError, match=r"embed_tokens.weight as \(256, 64\) instead of \(300, 64\)"):
        _streamed(directory)
