"""Writes a real quantized checkpoint of safetensors from our own encodings: what is measured is what is served."""

import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from sensitivity.checkpoint.safetensors_layout import FILL_LIMIT, SHARD_BYTES, SHARD_NAME, index_text
from sensitivity.errors import CheckpointError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.layer_rounding import LayerRounding
from sensitivity.new_directory import require_new
from sensitivity.rounding import Encoded, get_rounding
from sensitivity.rounding.packing import compressed_tensors
from sensitivity.safetensors_file import tensor_bytes, too_large, write_file

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


@dataclass(frozen=True, slots=True)
class Files:
    """The files of weights.

    Attributes:
        dtype: of what is not planned; by default what the configuration names.
        total_bytes: what the files and their index come to together, as a plan promised it. What they need less is filled with
            spaces: in the header of a single file (down to a multiple of eight), or in the index. ``None``: as few as it takes.
        shard_bytes: a new file is begun before one has more bytes of tensors than this.
    """

    dtype: str | None = None
    total_bytes: int | None = None
    shard_bytes: int = SHARD_BYTES


def write_checkpoint(
    state: Mapping[str, Tensor],
    assignment: Mapping[str, CandidateFormat],
    directory: Path,
    *,
    config: Mapping[str, object],
    container: Container = Container(),
    companions: Sequence[Path] = (),
    rounding: str | LayerRounding = "rtn",
    files: Files = Files(),
) -> Path:
    """Write safetensors and ``config.json``; nothing is left behind when it fails.

    Quantized layers are stored as their codes. Layers planned in BF16 or FP16 are cast to it, everything else to the dtype of
    ``files``. A tensor that shares its memory with an earlier one (a tied head) is written once.

    Args:
        state: tensors by checkpoint name; the weight of a layer is ``<layer>.weight`` of shape (out, in).
        assignment: format of each planned layer by name.
        directory: where to; must not exist yet, or be empty.
        config: ``config.json`` of the new checkpoint, with what the export says of the same assignment.
        container: how the target stores layers, and what it wants beside them.
        companions: files to copy beside the weights (tokenizer, generation settings).
        rounding: rounding method by name, for methods without data; or the assignment's cells, rounded from the loaded model
            that ``state`` was read from.
        files: sizes of the files of weights, and the dtype of what is not planned.

    Returns:
        The directory.

    Raises:
        CheckpointError: the directory is in use or cannot be written, a planned layer has no weight in ``state``, or the files
            would be larger than promised.
        UnsupportedShapeError: the packing cannot store a layer in its format.
        CorruptCheckpointError: a weight is NaN or infinite.
        CalibrationError: a rounding method by name that runs on text.
    """
    missing = sorted(name for name in assignment if f"{name}.weight" not in state)
    if missing:
        msg = f"{len(missing)} planned layers have no weight in the model, first {missing[0]}.weight; register the model again"
        raise CheckpointError(msg)
    with whole_or_nothing(directory) as place:
        kept = _dtype(config if files.dtype is None else {"dtype": files.dtype})
        tensors = _stored_tensors(state, assignment, rounding=rounding, dtype=kept, pack=container.pack)
        shards = _shards(container.arrange(tensors), files.shard_bytes)
        _write_shards(shards, place, {"format": container.metadata, **container.header}, files.total_bytes)
        for name, text in ({"config.json": json.dumps(dict(config), indent=2) + "\n"} | dict(container.texts)).items():
            (place / name).write_text(text, encoding="utf-8")
        for path in companions:
            shutil.copyfile(path, place / path.name)
    return directory


@contextmanager
def whole_or_nothing(directory: Path) -> Iterator[Path]:
    """A new directory beside the wanted one, renamed to it at the end and removed if anything fails."""
    require_new(directory)
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


def _write_shards(
    shards: Iterator[tuple[dict[str, Tensor], bool]], place: Path, header: Mapping[str, str], file_bytes: int | None
) -> None:
    written: list[list[str]] = []
    data = files = 0
    for shard, is_last in shards:
        alone = is_last and not written
        files += write_file(place / f"{len(written)}.partial", shard, header, size=file_bytes if alone else None)
        data += sum(map(tensor_bytes, shard.values()))
        written.append(list(shard))
    names = ["model.safetensors"]
    if len(written) > 1:
        names = [SHARD_NAME.format(index + 1, len(written)) for index in range(len(written))]
        places = {tensor: name for name, shard in zip(names, written, strict=True) for tensor in shard}
        _write_index(place / "model.safetensors.index.json", index_text(places, data), files, file_bytes)
    for number, name in enumerate(names):
        (place / f"{number}.partial").rename(place / name)


def _write_index(path: Path, text: bytes, others: int, file_bytes: int | None) -> None:
    """The index, filled with spaces so that it and the other files have the promised bytes."""
    length = least = len(text) + 1
    if file_bytes is not None:
        length = min(file_bytes - others, least + FILL_LIMIT)
    if length < least:
        raise too_large("the checkpoint", others + least, file_bytes or 0)
    path.write_bytes(text.ljust(length - 1) + b"\n")


def _shards(tensors: Iterator[Stored], shard_bytes: int) -> Iterator[tuple[dict[str, Tensor], bool]]:
    """The tensors of each file, and whether it is the last one."""
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors:
        if shard and size + tensor_bytes(tensor) > shard_bytes:
            yield shard, False
            shard, size = {}, 0
        shard[name] = tensor
        size += tensor_bytes(tensor)
    yield shard, True


def _dtype(config: Mapping[str, object]) -> torch.dtype | None:
    """The dtype that a configuration names (``dtype``, before transformers 5 ``torch_dtype``), ``None`` if it names none."""
    name = str(config.get("dtype") or config.get("torch_dtype") or "").removeprefix("torch.")
    found = getattr(torch, name, None) if name else None
    return found if isinstance(found, torch.dtype) else None
