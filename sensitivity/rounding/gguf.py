"""Rounding to the block formats of GGUF: weights to the bytes that a file holds, and what ggml's decoder makes of those bytes.

Decoding is ``gguf.quants.dequantize`` itself. Round to nearest means the library's own encoder (that of llama.cpp, bit for bit)
where it has one; for K-quants and IQ4, whose scales are always searched, it means ours (``gguf_encoders``). A method that
searches scales uses ours everywhere, and keeps the library's block where that is better.

A float16 scale reaches to 65504: larger weights are saturated, and magnitudes below 2^-40 count as zeros.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from numpy.typing import NDArray
from torch import Tensor

from sensitivity.formats.gguf import BlockFormat
from sensitivity.rounding.codec import Encoded
from sensitivity.rounding.gguf_encoders import ENCODERS
from sensitivity.rounding.gguf_scales import BlockScales
from sensitivity.rounding.groups import extremes, require_matrix

LIBRARY_ENCODERS: Final = frozenset({"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0"})
"""Types that ``gguf.quants.quantize`` writes."""

STRIP_ELEMENTS: Final = 1 << 17
"""Elements of the rows that are encoded at once: their temporary tensors stay in cache."""

GREATEST: Final = float(torch.finfo(torch.float16).max)
LEAST: Final = 2.0**-40


@torch.no_grad()
def encode_blocks(weight: Tensor, fmt: BlockFormat, *, searched: bool = False, importance: Tensor | None = None) -> Encoded:
    """Bytes of a matrix.

    Args:
        weight: any float dtype, shape (out, in).
        fmt: a block format.
        searched: search scales also where the library has an encoder without a search.
        importance: weight of each column in the squared error of a search, float32 of shape (in,), at least 0 with a mean of
            about one; all alike if not given.

    Returns:
        Codes are the bytes, uint8 of shape (out, bytes of a row); there is no scaling beside them.

    Raises:
        UnsupportedShapeError: the format cannot store this shape.
        CorruptCheckpointError: a weight is NaN or infinite.
    """
    parts = []
    for blocks in _strips(weight, fmt):
        counts = None if importance is None else importance.view(-1, fmt.block_elements)
        weights = None if counts is None else counts.repeat(len(blocks) // len(counts), 1)
        parts.append(_searched(blocks, fmt, weights) if searched or fmt.name not in LIBRARY_ENCODERS else _plain(blocks, fmt))
    return _encoded(parts, fmt, (weight.shape[0], weight.shape[1]))


@torch.no_grad()
def block_scales(weight: Tensor, fmt: BlockFormat) -> BlockScales:
    """Searched scales of all blocks of a matrix, row by row. Arguments and errors as for ``encode_blocks``."""
    parts = [ENCODERS[fmt.name].scales(blocks) for blocks in _strips(weight, fmt)]
    return BlockScales.joined(parts)


@torch.no_grad()
def encode_levels(levels: Tensor, fmt: BlockFormat, scales: BlockScales) -> Encoded:
    """Bytes of a matrix whose levels are given.

    Args:
        levels: exact levels of the format, float32 (out, in).
        fmt: a block format.
        scales: of all blocks, row by row.
    """
    encoder = ENCODERS[fmt.name]
    blocks = levels.contiguous().view(-1, fmt.block_elements)
    step = max(1, STRIP_ELEMENTS // fmt.block_elements)
    parts = [
        encoder.write(encoder.groups(blocks[start : start + step]), scales.blocks(start, start + step))
        for start in range(0, len(blocks), step)
    ]
    return _encoded(parts, fmt, (levels.shape[0], levels.shape[1]))


def decode_blocks(encoded: Encoded) -> Tensor:
    """Float32 weights of shape (out, in), as ggml decodes the bytes."""
    return _decoded(encoded.codes, encoded.format.name)


def _strips(weight: Tensor, fmt: BlockFormat) -> Iterator[Tensor]:
    """Blocks of some rows at a time, float32 (blocks, elements), within what a float16 scale reaches."""
    require_matrix(weight, fmt)
    extremes(weight, fmt.block_elements)
    step = max(1, STRIP_ELEMENTS // weight.shape[1])
    for start in range(0, len(weight), step):
        bounded = weight[start : start + step].float().clamp(-GREATEST, GREATEST)
        yield bounded.masked_fill_(bounded.abs() < LEAST, 0.0).view(-1, fmt.block_elements)


def _encoded(parts: Sequence[Tensor], fmt: BlockFormat, shape: tuple[int, int]) -> Encoded:
    return Encoded(fmt, shape, torch.cat(list(parts)).view(shape[0], -1), None)


def _plain(blocks: Tensor, fmt: BlockFormat) -> Tensor:
    found: NDArray[np.uint8] = quantize(blocks.numpy(), GGMLQuantizationType[fmt.name])
    return torch.from_numpy(found)


def _searched(blocks: Tensor, fmt: BlockFormat, importance: Tensor | None) -> Tensor:
    found = ENCODERS[fmt.name].encode(blocks, importance)
    if fmt.name not in LIBRARY_ENCODERS:
        return found
    plain = _plain(blocks, fmt)
    better = _errors(plain, blocks, fmt, importance) <= _errors(found, blocks, fmt, importance)
    return torch.where(better, plain, found)


def _errors(stored: Tensor, blocks: Tensor, fmt: BlockFormat, importance: Tensor | None) -> Tensor:
    """Squared error of each block, float64 (blocks, 1): the sums must be comparable to the last bit of a block."""
    squares = (_decoded(stored, fmt.name) - blocks).double().square_()
    return (squares if importance is None else squares * importance).sum(dim=1, keepdim=True)


def _decoded(stored: Tensor, name: str) -> Tensor:
    found: NDArray[np.float32] = dequantize(stored.numpy(), GGMLQuantizationType[name])
    return torch.from_numpy(found)
