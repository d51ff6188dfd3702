"""Writes a real quantized checkpoint of safetensors from our own encodings: what is measured is what is served."""

import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from sensitivity.errors import CheckpointError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.layer_rounding import LayerRounding
from sensitivity.rounding import Encoded, get_rounding
from sensitivity.rounding.packing import compressed_tensors

SHARD_BYTES = 5_000_000_000
Packer = Callable[[Encoded], Mapping[str, Tensor]]
Stored = tuple[str, Tensor]
"""A tensor of the new checkpoint and its name."""


@dataclass(frozen=True, slots=True)
class Container:
    """How a target stores a checkpoint of safetensors.

    Attributes:
        pack: the stored tensors of a layer by the last part of their names.
        arrange: all tensors as they are stored, from the packed ones in the order of the checkpoint; by default the same.
        metadata: ``format`` in the header of the files.
        header: what else the header of each file says.
        texts: files beside the weights and ``config.json``, by name.
    """

    pack: Packer = compressed_tensors
    arrange: Callable[[Iterator[Stored]], Iterator[Stored]] = iter
    metadata: str = "pt"
    header: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


def write_checkpoint(
    state: Mapping[str, Tensor],
    assignment: Mapping[str, CandidateFormat],
    directory: Path,
    *,
    config: Mapping[str, object],
    container: Container = Container(),
    companions: Sequence[Path] = (),
    rounding: str | LayerRounding = "rtn",
    shard_bytes: int = SHARD_BYTES,
) -> Path:
    """Write safetensors and ``config.json``; nothing is left behind when it fails.

    Quantized layers are stored as their codes. Layers planned in BF16 or FP16 are cast to it, everything else to the
    dtype that ``config`` names. A tensor that shares its memory with an earlier one (a tied head) is written once.

    Args:
        state: tensors by checkpoint name; the weight of a layer is ``<layer>.weight`` of shape (out, in).
        assignment: format of each planned layer by name.
        directory: where to; must not exist yet, or be empty.
        config: ``config.json`` of the new checkpoint, with what the export says of the same assignment.
        container: how the target stores layers, and what it wants beside them.
        companions: files to copy beside the weights (tokenizer, generation settings).
        rounding: rounding method by name, for methods without data; or the assignment's cells, rounded from the loaded model
            that ``state`` was read from.
        shard_bytes: a new file is begun before one grows beyond this.

    Returns:
        The directory.

    Raises:
        CheckpointError: the directory is in use or cannot be written, or a planned layer has no weight in ``state``.
        UnsupportedShapeError: the packing cannot store a layer in its format.
        CorruptCheckpointError: a weight is NaN or infinite.
        CalibrationError: a rounding method by name that runs on text.
    """
    missing = sorted(name for name in assignment if f"{name}.weight" not in state)
    if missing:
        msg = f"{len(missing)} planned layers have no weight in the model, first {missing[0]}.weight; register the model again"
        raise CheckpointError(msg)
    with whole_or_nothing(directory) as place:
        tensors = _stored_tensors(state, assignment, rounding=rounding, dtype=_dtype(config), pack=container.pack)
        _write_shards(container.arrange(tensors), place, shard_bytes, {"format": container.metadata, **container.header})
        for name, text in ({"config.json": json.dumps(dict(config), indent=2) + "\n"} | dict(container.texts)).items():
            (place / name).write_text(text, encoding="utf-8")
        for path in companions:
            shutil.copyfile(path, place / path.name)
    return directory


@contextmanager
def whole_or_nothing(directory: Path) -> Iterator[Path]:
    """A new directory beside the wanted one, renamed to it at the end and removed if anything fails."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        msg = f"{directory} already exists and is not empty; name a new directory for the checkpoint"
        raise CheckpointError(msg)
    place = directory.parent / f".{directory.name}.{secrets.token_hex(4)}.partial"
    try:
        place.mkdir(parents=True)
        yield place
        place.rename(directory)
    except OSError as error:
        msg = f"cannot write the checkpoint to {directory}: {error.strerror or error}. Free space or name another directory"
        raise CheckpointError(msg) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _stored_tensors(
    state: Mapping[str, Tensor],
    assignment: Mapping[str, CandidateFormat],
    *,
    rounding: str | LayerRounding,
    dtype: torch.dtype | None,
    pack: Packer,
) -> Iterator[Stored]:
    repeated = _repeated(state, assignment)
    for name, tensor in state.items():
        layer = name.removesuffix(".weight")
        if name.endswith(".weight") and layer in assignment:
            for part, stored in pack(_encode(layer, tensor, assignment[layer], rounding)).items():
                yield f"{layer}.{part}", stored
        elif name not in repeated:
            yield name, tensor.detach().to("cpu", dtype if tensor.is_floating_point() else None)


def _encode(layer: str, weight: Tensor, fmt: CandidateFormat, rounding: str | LayerRounding) -> Encoded:
    if isinstance(rounding, LayerRounding):
        return rounding.encode(layer, fmt)
    return get_rounding(rounding).encode(weight.detach().cpu(), fmt)


def _repeated(state: Mapping[str, Tensor], assignment: Mapping[str, CandidateFormat]) -> set[str]:
    """Names whose memory an earlier, unplanned tensor of the same shape shares. Files share none: only a dict can."""
    if not isinstance(state, dict):
        return set()
    first: dict[tuple[int, torch.Size], str] = {}
    for name, tensor in state.items():
        if name.removesuffix(".weight") not in assignment and tensor.numel():
            first.setdefault((tensor.data_ptr(), tensor.shape), name)
    return {name for name, tensor in state.items() if first.get((tensor.data_ptr(), tensor.shape), name) != name}


def _write_shards(tensors: Iterator[Stored], place: Path, shard_bytes: int, header: dict[str, str]) -> None:
    shards: list[list[str]] = []
    total = 0
    for shard in _shards(tensors, shard_bytes):
        save_file({name: tensor.contiguous() for name, tensor in shard.items()}, place / f"{len(shards)}.partial", header)
        shards.append(list(shard))
        total += sum(map(_bytes, shard.values()))
    names = ["model.safetensors"]
    if len(shards) > 1:
        names = [f"model-{index + 1:05}-of-{len(shards):05}.safetensors" for index in range(len(shards))]
        weight_map = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (place / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    for number, name in enumerate(names):
        (place / f"{number}.partial").rename(place / name)


def _shards(tensors: Iterator[Stored], shard_bytes: int) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors:
        if shard and size + _bytes(tensor) > shard_bytes:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor
        size += _bytes(tensor)
    yield shard


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _dtype(config: Mapping[str, object]) -> torch.dtype | None:
    """The dtype that a configuration names (``dtype``, before transformers 5 ``torch_dtype``), ``None`` if it names none."""
    name = str(config.get("dtype") or config.get("torch_dtype") or "").removeprefix("torch.")
    found = getattr(torch, name, None) if name else None
    return found if isinstance(found, torch.dtype) else None
