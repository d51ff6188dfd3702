"""Stored weights read in pieces, against the format's own library."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sensitivity.checkpoint import describe
from sensitivity.checkpoint.tensors import StoredTensor
from sensitivity.checkpoint.weights import layer_weights, squared_change
from sensitivity.errors import CheckpointError, CorruptCheckpointError
from tests import tiny_models


def weights(directory: Path) -> dict[str, StoredTensor]:
    return layer_weights(describe(str(directory)))


def expected(reference: Path, other: Path, name: str) -> tuple[float, float]:
    one, two = (load_file(tiny_models.shards(path)[0])[f"{name}.weight"].double() for path in (reference, other))
    return float((two - one).square().sum()), float(one.square().sum())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_the_change_is_that_of_the_library(tmp_path: Path, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensitivity.checkpoint.weights.PIECE", 1000)
    one = tiny_models.tiny_llama(tmp_path / "one", dtype=dtype)
    two = tiny_models.tiny_llama(tmp_path / "two", dtype=torch.bfloat16, seed=1)
    first, second = weights(one), weights(two)
    assert list(first) == [layer.name for layer in describe(str(one)).layers]
    for name in first:
        np.testing.assert_allclose(squared_change(first[name], second[name]), expected(one, two, name), rtol=1e-12)
        assert squared_change(first[name], first[name])[0] == 0


@pytest.mark.parametrize("family", ["gpt2", "mixtral", "qwen3"])
def test_every_family_has_a_weight_for_every_layer(tmp_path: Path, family: str) -> None:
    path = tiny_models.BUILDERS[family](tmp_path / family)
    described = describe(str(path))
    found = layer_weights(described)
    assert [sorted(found[layer.name].shape) for layer in described.layers] == [sorted(layer.shape) for layer in described.layers]


def test_shards_are_found(tmp_path: Path) -> None:
    whole = weights(tiny_models.tiny_llama(tmp_path / "whole"))
    parts = weights(tiny_models.tiny_llama(tmp_path / "parts", sharded=True))
    assert len({stored.file for stored in parts.values()}) > 1
    assert all(squared_change(whole[name], parts[name])[0] == 0 for name in whole)


def test_weights_that_are_not_numbers_are_an_error(tmp_path: Path) -> None:
    path = tiny_models.tiny_llama(tmp_path / "llama")
    name = "model.layers.1.mlp.up_proj"
    tiny_models.poison(path / "model.safetensors", f"{name}.weight", value=float("inf"))
    stored = weights(path)[name]
    with pytest.raises(CorruptCheckpointError, match=name):
        squared_change(stored, stored)


def test_a_file_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    path = tiny_models.tiny_llama(tmp_path / "llama")
    stored = max(weights(path).values(), key=lambda tensor: tensor.offset)
    tiny_models.truncate(path / "model.safetensors", by=path.joinpath("model.safetensors").stat().st_size - stored.offset - 10)
    with pytest.raises(CorruptCheckpointError, match="ends within"):
        squared_change(stored, stored)
    stored.file.unlink()
    with pytest.raises(CorruptCheckpointError, match="cannot be read"):
        squared_change(stored, stored)


def test_a_gguf_is_refused(tmp_path: Path) -> None:
    described = describe(str(tiny_models.tiny_gguf(tmp_path / "tiny.gguf")))
    with pytest.raises(CheckpointError, match="register the model's safetensors"):
        layer_weights(described)
