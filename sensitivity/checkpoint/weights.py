"""Stored weights read piece by piece, and how far they are from those of another checkpoint. No torch here."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sensitivity.checkpoint.configuration import from_json
from sensitivity.checkpoint.description import ModelDescription, SourceKind
from sensitivity.checkpoint.inventory import by_full_name
from sensitivity.checkpoint.safetensors_header import read_directory
from sensitivity.checkpoint.tensors import StoredTensor
from sensitivity.checkpoint.untrusted import read_json
from sensitivity.errors import CheckpointError, CorruptCheckpointError

PIECE: Final = 2**20
"""Elements that are in memory at a time."""


def layer_weights(description: ModelDescription) -> dict[str, StoredTensor]:
    """The stored weight of every layer, by the layer's name.

    Raises:
        CheckpointError: the weights are no safetensors.
        CorruptCheckpointError: a header cannot be read.
    """
    if description.kind is not SourceKind.SAFETENSORS:
        msg = f"{description.source} is a {description.kind.upper()} file: register the model's safetensors to read its weights"
        raise CheckpointError(msg)
    directory = Path(description.path)
    config = directory / "config.json"
    tensors = [tensor for file in read_directory(directory) for tensor in file.tensors]
    named = by_full_name(tensors, from_json(read_json(config), config))
    return {layer.name: named[f"{layer.name}.weight"] for layer in description.layers}


def stored_bytes(stored: StoredTensor, *, start: int = 0, length: int | None = None) -> NDArray[np.uint8]:
    """Bytes of a tensor. They are read, not mapped: no page of the file stays in the process's memory.

    Args:
        stored: the tensor in its file.
        start: first byte, counted from the tensor's first.
        length: how many bytes; ``None`` for all from there.

    Raises:
        CorruptCheckpointError: the file is gone or shorter than its header says.
    """
    length = stored.nbytes - start if length is None else length
    try:
        raw = np.fromfile(stored.file, dtype=np.uint8, count=length, offset=stored.offset + start)
    except OSError as error:
        msg = f"{stored.file} cannot be read ({error.strerror or error}); fetch its files again"
        raise CorruptCheckpointError(msg) from error
    if len(raw) < length:
        msg = f"{stored.file} ends within {stored.name}: it changed while it was read; fetch its files again"
        raise CorruptCheckpointError(msg)
    return raw


def squared_change(reference: StoredTensor, other: StoredTensor) -> tuple[float, float]:
    """‖W_other − W_reference‖² and ‖W_reference‖² (squared Frobenius norms, float64), whatever the two float dtypes.

    Memory: a few pieces of ``PIECE`` elements. Both tensors have the same shape.

    Raises:
        CorruptCheckpointError: a file is shorter than its header says, or a weight is NaN or infinite.
    """
    change = norm = 0.0
    for one, two in zip(_pieces(reference), _pieces(other), strict=True):
        change += float(np.square(two - one).sum())
        norm += float(np.square(one).sum())
    return change, norm


def _pieces(stored: StoredTensor) -> Iterator[NDArray[np.float64]]:
    """The elements in the order of the file, float64."""
    width = stored.nbytes // stored.elements
    for start in range(0, stored.nbytes, PIECE * width):
        raw = stored_bytes(stored, start=start, length=min(PIECE * width, stored.nbytes - start))
        values = _as_float64(raw, stored.dtype)
        if not np.isfinite(values).all():
            msg = f"{stored.name} in {stored.file} holds NaN or infinite weights; fetch its files again"
            raise CorruptCheckpointError(msg)
        yield values


def _as_float64(raw: NDArray[np.uint8], dtype: str) -> NDArray[np.float64]:
    """Little-endian elements; bfloat16, which numpy lacks, is the upper half of a float32."""
    if dtype == "bfloat16":
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return raw.view(np.dtype(dtype).newbyteorder("<")).astype(np.float64)
