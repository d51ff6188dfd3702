"""Encoded matrices as the tensors of optimum-quanto: ``weight._data``, ``weight._scale``, ``weight._shift``.

Codes of b bits are packed along the rows of the grouped matrix: of ``8/b`` parts of the rows, part i lies at bit i·b of a byte.
"""

import torch
from torch import Tensor

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.packing_quanto import is_quanto_packed, quanto_refusal
from sensitivity.rounding.codec import Encoded


def quanto(encoded: Encoded) -> dict[str, Tensor]:
    """Tensors of one layer by the last parts of their names.

    Raises:
        UnsupportedShapeError: quanto cannot store this matrix in this format.
    """
    fmt, scaling = encoded.format, encoded.scaling
    reason = quanto_refusal(fmt, encoded.shape)
    if reason is not None:
        raise UnsupportedShapeError(reason)
    if scaling is None:
        return {"weight": encoded.codes}
    activations = {name: torch.ones((), dtype=scaling.stored.dtype) for name in ("input_scale", "output_scale")}
    if not is_quanto_packed(fmt):
        return {"weight._data": encoded.codes, "weight._scale": scaling.stored, **activations}
    half = 1 << (fmt.num_bits - 1)
    rows = (encoded.codes + half).to(torch.uint8).reshape(-1, fmt.group_size or encoded.shape[1])
    return {
        "weight._data._data": _pack_rows(rows, fmt.num_bits),
        "weight._scale": scaling.stored.reshape(-1, 1),
        "weight._shift": (scaling.stored * half).reshape(-1, 1),
        **activations,
    }


def _pack_rows(rows: Tensor, num_bits: int) -> Tensor:
    parts = 8 // num_bits
    height = -(-len(rows) // parts)
    packed = torch.zeros((height, rows.shape[1]), dtype=torch.uint8)
    for part in range(parts):
        codes = rows[part * height : (part + 1) * height]
        packed[: len(codes)] |= codes << (part * num_bits)
    return packed
