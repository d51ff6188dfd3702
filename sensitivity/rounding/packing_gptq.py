"""Encoded matrices as the tensors of a GPTQ file, as GPTQModel and AutoRound read it.

A code q of b bits is the level plus 2^(b−1); weight = scale·(q − zero point), so a symmetric format's zero point is 2^(b−1).
Words run along the inputs in ``qweight`` (in·b/32, out) and along the outputs in ``qzeros`` (groups, out·b/32).

- The *dense* layout holds code i of 32 at bit i·b of b words. Version 1 of the format stores zero points less one.
- The *planar* layout (GPTQModel's ``gptq_p``) splits a code into planes whose widths divide 32, low bits first, and stores
  the words of 32 codes plane after plane. Zero points are stored as they are. 2, 4 and 8 bits are one plane: the dense words.
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.packing_gptq import gptq_refusal
from sensitivity.rounding.codec import Encoded, Scaling
from sensitivity.rounding.packing import pack_words

PLANES: Final[Mapping[int, tuple[int, ...]]] = {2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1), 8: (8,)}
"""Widths of the planes of a code, from its low bits up."""


def autoround(encoded: Encoded) -> dict[str, Tensor]:
    """Tensors of one layer by the last part of their names, as AutoRound's packing ``auto_round:auto_gptq`` has them.

    Raises:
        UnsupportedShapeError: a GPTQ file cannot store this matrix in this format.
    """
    scaling = _scaling(encoded)
    return {"weight": encoded.codes} if scaling is None else _packed(encoded, scaling)


def gptqmodel(encoded: Encoded) -> dict[str, Tensor]:
    """Tensors of one layer by the last part of their names, in GPTQModel's checkpoint format ``gptq``.

    Raises:
        UnsupportedShapeError: a GPTQ file cannot store this matrix in this format.
    """
    scaling = _scaling(encoded)
    return {"weight": encoded.codes} if scaling is None else _packed(encoded, scaling) | _index(encoded)


def gptqmodel_planar(encoded: Encoded) -> dict[str, Tensor]:
    """Tensors of one layer by the last part of their names, in GPTQModel's checkpoint format ``gptq_p``.

    Raises:
        UnsupportedShapeError: a GPTQ file cannot store this matrix in this format.
    """
    scaling = _scaling(encoded)
    return {"weight": encoded.codes} if scaling is None else _packed(encoded, scaling, planar=True) | _index(encoded)


def pack_planes(codes: Tensor, num_bits: int) -> Tensor:
    """Pack each row of int8 codes into int32 words, plane after plane; codes are stored with 2^(b−1) added.

    Args:
        codes: int8 of shape (rows, columns), within −2^(b−1) … 2^(b−1)−1; columns divisible by 32.
        num_bits: bits b of one code, 2 to 8.

    Returns:
        int32 of shape (rows, columns·b/32).
    """
    rest = codes.to(torch.int16) + (1 << (num_bits - 1))
    planes = []
    for width in PLANES[num_bits]:
        plane = (rest & ((1 << width) - 1)) - (1 << (width - 1))
        planes.append(pack_words(plane.to(torch.int8), width).reshape(len(codes), -1, width))
        rest = rest >> width
    return torch.cat(planes, dim=-1).reshape(len(codes), -1)


def _scaling(encoded: Encoded) -> Scaling | None:
    reason = gptq_refusal(encoded.format, encoded.shape)
    if reason is not None:
        raise UnsupportedShapeError(reason)
    return encoded.scaling


def _packed(encoded: Encoded, scaling: Scaling, *, planar: bool = False) -> dict[str, Tensor]:
    num_bits = encoded.format.num_bits
    pack = pack_planes if planar else pack_words
    zero_points = torch.full(scaling.stored.T.shape, 0 if planar else -1, dtype=torch.int8)
    return {
        "qweight": pack(encoded.codes, num_bits).T.contiguous(),
        "qzeros": pack(zero_points, num_bits),
        "scales": scaling.stored.T.contiguous(),
    }


def _index(encoded: Encoded) -> dict[str, Tensor]:
    columns = encoded.shape[1]
    width = encoded.format.group_size or columns
    return {"g_idx": torch.arange(columns, dtype=torch.int32) // width}
