"""Encoded matrices as the tensors of an ``HQQLinear``: weight = (``W_q`` − ``zero``)·``scale``, a group a row.

Packed elements are those of equal place in equal parts of the rows; the first part lies at the highest bits.
"""

import torch
from torch import Tensor

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.packing_hqq import PER_UNIT, hqq_refusal
from sensitivity.rounding.codec import Encoded


def hqq(encoded: Encoded) -> dict[str, Tensor]:
    """Tensors of one layer by the last part of their names; zero points are whole numbers, which bfloat16 holds.

    Raises:
        UnsupportedShapeError: HQQ cannot store this matrix in this format.
    """
    fmt, scaling = encoded.format, encoded.scaling
    reason = hqq_refusal(fmt, encoded.shape)
    if reason is not None:
        raise UnsupportedShapeError(reason)
    if scaling is None:
        return {"weight": encoded.codes}
    assert scaling.zero_point is not None  # noqa: S101  (asymmetric)
    half = 1 << (fmt.num_bits - 1)
    rows = (encoded.codes.to(torch.int32) + half).reshape(-1, fmt.group_size or encoded.shape[1])
    zero = scaling.zero_point.to(torch.int32) + half
    return {
        "W_q": _pack_rows(rows, fmt.num_bits),
        "scale": scaling.stored.reshape(-1, 1),
        "zero": zero.reshape(-1, 1).to(scaling.stored.dtype),
    }


def _pack_rows(rows: Tensor, num_bits: int) -> Tensor:
    parts, unit_bits = PER_UNIT[num_bits]
    height = -(-len(rows) // parts)
    packed = torch.zeros((height, rows.shape[1]), dtype=torch.int32)
    for part in range(parts):
        codes = rows[part * height : (part + 1) * height]
        packed[: len(codes)] |= codes << ((parts - 1 - part) * num_bits)
    return packed if unit_bits == 32 else packed.to(torch.uint8)
