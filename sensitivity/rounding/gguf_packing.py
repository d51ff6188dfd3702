"""Bytes of the blocks of GGUF (ggml's layouts): the inverse of what ``gguf.quants.dequantize`` reads.

Every function takes whole blocks, uint8 of shape (blocks, …), and returns uint8 of shape (blocks, bytes).
"""

import torch
from torch import Tensor

from sensitivity.formats.gguf import BLOCK, SUPER_BLOCK

_GREATEST_HALF = torch.finfo(torch.float16).max


def halves(scales: Tensor) -> Tensor:
    """Float32 numbers as float16, two bytes each, saturated."""
    return as_half(scales).contiguous().view(torch.uint8)


def as_half(scales: Tensor) -> Tensor:
    """The nearest float16, saturated."""
    return scales.clamp(-_GREATEST_HALF, _GREATEST_HALF).half()


def fold(codes: Tensor, parts: int, width: int) -> Tensor:
    """Codes of ``8/parts`` bits in bytes: of a run of ``parts·width``, element k of part p lies ``p·8/parts`` bits up in byte k.

    Args:
        codes: (blocks, elements); bits above the code's must be 0.
        parts: codes of a byte: 2, 4 or 8.
        width: bytes of a run.
    """
    runs = codes.reshape(len(codes), -1, parts, width)
    shifts = torch.arange(0, 8, 8 // parts, dtype=torch.uint8).reshape(1, 1, parts, 1)
    return (runs << shifts).sum(dim=2, dtype=torch.uint8).flatten(1)


def nibbles(codes: Tensor) -> Tensor:
    """4-bit codes of a block of 32: its second half lies above its first."""
    return fold(codes, 2, BLOCK // 2)


def q5_block(codes: Tensor) -> Tensor:
    """5-bit codes of a block of 32: 4 bytes of upper bits, 16 of the lower ones."""
    return torch.cat([fold(codes >> 4, 8, 1), nibbles(codes & 15)], dim=1)


def q8_block(codes: Tensor) -> Tensor:
    """Signed bytes of codes that have 128 added."""
    return codes ^ 128


def scales_and_minima(scales: Tensor, minima: Tensor) -> Tensor:
    """Eight 6-bit scales and minima in 12 bytes: the upper two bits of the later four lie above the earlier four."""
    upper = torch.cat([scales[:, 4:], minima[:, 4:]], dim=1) >> 4 << 6
    earlier = torch.cat([scales[:, :4], minima[:, :4]], dim=1)
    later = (scales[:, 4:] & 15) | (minima[:, 4:] & 15) << 4
    return torch.cat([earlier | upper, later], dim=1)


def q3_scales(scales: Tensor) -> Tensor:
    """Sixteen 6-bit scales in 12 bytes: lower four bits first, then the upper two of each."""
    return torch.cat([fold(scales & 15, 2, 8), fold(scales >> 4, 4, 4)], dim=1)


def iq4_scales(scales: Tensor) -> Tensor:
    """Eight 6-bit scales in 6 bytes: the upper two bits of each first."""
    return torch.cat([fold(scales >> 4, 4, 1), fold(scales & 15, 2, 1)], dim=1)


def q2_elements(codes: Tensor) -> Tensor:
    """2-bit codes of a super-block, 64 bytes."""
    return fold(codes, 4, BLOCK)


def q3_elements(codes: Tensor) -> Tensor:
    """3-bit codes of a super-block: 32 bytes of upper bits, 64 of the lower ones."""
    return torch.cat([fold(codes >> 2, 8, BLOCK), fold(codes & 3, 4, BLOCK)], dim=1)


def q4_elements(codes: Tensor) -> Tensor:
    """4-bit codes of a super-block, 128 bytes."""
    return fold(codes, 2, BLOCK)


def q5_elements(codes: Tensor) -> Tensor:
    """5-bit codes of a super-block: 32 bytes of upper bits, 128 of the lower ones."""
    return torch.cat([fold(codes >> 4, 8, BLOCK), fold(codes & 15, 2, BLOCK)], dim=1)


def q6_elements(codes: Tensor) -> Tensor:
    """6-bit codes of a super-block: 128 bytes of lower bits, 64 of the upper ones."""
    return torch.cat([fold(codes & 15, 2, SUPER_BLOCK // 4), fold(codes >> 4, 4, BLOCK)], dim=1)


def iq4_xs_elements(codes: Tensor) -> Tensor:
    """4-bit codes of a super-block in blocks of 32, 128 bytes."""
    return nibbles(codes)
