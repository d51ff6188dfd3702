"""What changes the identity of a checkpoint, and what does not."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from sensitivity.checkpoint import describe, verify
from sensitivity.checkpoint.fingerprint import CHUNK_BYTES, CHUNKS, fingerprint
from sensitivity.checkpoint.safetensors_header import read_directory
from sensitivity.checkpoint.tensors import StoredTensor
from sensitivity.errors import ModelChangedError, SourceNotFoundError
from tests.tiny_models import edit_config, flip_byte, shards, tiny_gguf, tiny_llama


def swap_names(directory: Path) -> None:
    file = shards(directory)[0]
    tensors = load_file(file)
    q, o = (f"model.layers.0.self_attn.{role}.weight" for role in ("q_proj", "o_proj"))
    save_file(tensors | {q: tensors[o], o: tensors[q]}, file)


def reshape(directory: Path) -> None:
    file = shards(directory)[0]
    tensors = load_file(file)
    name = "model.layers.0.mlp.up_proj.weight"
    save_file(tensors | {name: tensors[name].reshape(64, 128)}, file)


CHANGES: dict[str, Callable[[Path], object]] = {
    "renamed": swap_names,
    "reshaped": reshape,
    "first byte of data": lambda d: flip_byte(shards(d)[0], -sum(t.nbytes for t in read_directory(d)[0].tensors)),
    "last byte of data": lambda d: flip_byte(shards(d)[0], -1),
    "a byte in the middle": lambda d: flip_byte(shards(d)[0], -60_000),
    "configuration": lambda d: edit_config(d, rms_norm_eps=1e-3),
    "tokenizer": lambda d: (d / "tokenizer.json").write_text("{}"),
    "no tokenizer": lambda d: (d / "tokenizer.json").unlink(),
    "another seed": lambda d: tiny_llama(d, seed=1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_shows_and_stops_a_job(change: str, tmp_path: Path) -> None:
    description = describe(str(tiny_llama(tmp_path / "m")))
    verify(description)
    CHANGES[change](tmp_path / "m")
    assert describe(str(tmp_path / "m")).fingerprint != description.fingerprint
    with pytest.raises(ModelChangedError, match="restore them, or register the model anew"):
        verify(description)


def test_place_and_files_beside_the_model_do_not_matter(tmp_path: Path) -> None:
    description = describe(str(tiny_llama(tmp_path / "m")))
    shutil.copytree(tmp_path / "m", tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("a card")
    assert describe(str(tmp_path / "copy")).fingerprint == description.fingerprint


def test_files_that_are_gone(tmp_path: Path) -> None:
    description = describe(str(tiny_llama(tmp_path / "m")))
    shutil.rmtree(tmp_path / "m")
    with pytest.raises(SourceNotFoundError):
        verify(description)


def test_gguf(tmp_path: Path) -> None:
    path = tiny_gguf(tmp_path / "m.gguf")
    description = describe(str(path))
    verify(description)
    flip_byte(path, -1000)
    with pytest.raises(ModelChangedError):
        verify(description)


def large(tensors: tuple[StoredTensor, ...]) -> StoredTensor:
    return next(tensor for tensor in tensors if tensor.nbytes > CHUNKS * CHUNK_BYTES)


def test_above_the_limit_every_tensor_is_sampled_and_the_bytes_between_are_not(tmp_path: Path) -> None:
    """The honest edge: a lone flipped byte between the chunks of a large model is not seen."""
    directory = tiny_llama(tmp_path / "m", hidden=128, ffn=256)
    file = shards(directory)[0]

    def sampled() -> str:
        return fingerprint(read_directory(directory), texts=[], whole_limit=0)

    before, tensors = sampled(), read_directory(directory)[0].tensors
    for tensor in tensors:
        for offset in (tensor.offset, tensor.offset + tensor.nbytes - 1):
            flip_byte(file, offset)
            assert sampled() != before
            flip_byte(file, offset)
    assert sampled() == before
    flip_byte(file, large(tensors).offset + CHUNK_BYTES)
    assert sampled() == before
    assert fingerprint(read_directory(directory), texts=[]) != before


def test_a_replaced_shard_shows_in_the_samples(tmp_path: Path) -> None:
    one, other = tiny_llama(tmp_path / "a", sharded=True), tiny_llama(tmp_path / "b", seed=1, sharded=True)
    before = fingerprint(read_directory(one), texts=[], whole_limit=0)
    shutil.copy(shards(other)[1], shards(one)[1])
    assert fingerprint(read_directory(one), texts=[], whole_limit=0) != before
