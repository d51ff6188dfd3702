"""Writes one file of safetensors, of the size that was promised."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from sensitivity.checkpoint.safetensors_header import DTYPES
from sensitivity.checkpoint.safetensors_layout import ALIGNMENT, FILL_LIMIT, LENGTH_BYTES, Entry, aligned, header_text
from sensitivity.errors import CheckpointError

_WORDS: Final = {getattr(torch, name): word for word, (name, _) in DTYPES.items()}


def tensor_bytes(tensor: Tensor) -> int:
    """Bytes of a tensor's data."""
    return tensor.numel() * tensor.element_size()


def write_file(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, size: int | None = None) -> int:
    """Write tensors, those of the widest elements first, so that each begins where its elements may.

    Args:
        path: where to.
        tensors: what to write, by name.
        metadata: what the header says beside.
        size: bytes that the file is to have; the header is filled up with spaces. Less by up to seven where it is no multiple of
            eight more than the data, and by what ``FILL_LIMIT`` leaves. ``None`` for as few as it takes.

    Returns:
        Bytes of the file.

    Raises:
        CheckpointError: header and tensors need more than ``size``.
        OSError: it cannot be written.
    """
    ordered = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    entries: dict[str, Entry] = {}
    end = 0
    for name in ordered:
        tensor, start = tensors[name], end
        end += tensor_bytes(tensor)
        entries[name] = _WORDS[tensor.dtype], tuple(tensor.shape), (start, end)
    text = header_text(entries, metadata)
    length = least = aligned(len(text))
    if size is not None:
        length = min((size - LENGTH_BYTES - end) // ALIGNMENT * ALIGNMENT, least + FILL_LIMIT)
    if length < least:
        raise too_large(path.name, LENGTH_BYTES + least + end, size or 0)
    with path.open("wb") as file:
        file.write(length.to_bytes(LENGTH_BYTES, "little"))
        file.write(text.ljust(length))
        for name in ordered:
            tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tofile(file)
    return LENGTH_BYTES + length + end


def too_large(name: str, size: int, promised: int) -> CheckpointError:
    """The error of a file that would be larger than the plan says."""
    return CheckpointError(
        f"{name} would have {size:,} bytes, and the plan promises {promised:,}: nothing is written. Register the model again "
        f"and plan anew"
    )
