"""Encoded matrices as the tensors of torchao's classes: elements, scales, zero points, each as torchao flattens them."""

import torch
from torch import Tensor

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.packing_torchao import FLOAT8, is_torchao_int8, torchao_refusal
from sensitivity.rounding.codec import Encoded


def torchao(encoded: Encoded) -> dict[str, Tensor]:
    """Tensors of one layer by the last part of their names.

    Returns:
        ``_weight_qdata`` of shape (out, in): int8, or float8_e4m3fn. ``_weight_scale`` of shape (out, groups), or (1, 1):
        bfloat16, or float32 of float8. ``_weight_zero_point`` like the scales, int8: of all integers but symmetric INT8.
        An unquantized layer has a ``weight`` of its dtype.

    Raises:
        UnsupportedShapeError: torchao cannot store this matrix in this format.
    """
    fmt, scaling = encoded.format, encoded.scaling
    reason = torchao_refusal(fmt, encoded.shape)
    if reason is not None:
        raise UnsupportedShapeError(reason)
    if scaling is None:
        return {"weight": encoded.codes}
    scale = scaling.stored.float() if fmt.name in FLOAT8 else scaling.stored
    found = {"_weight_qdata": encoded.codes, "_weight_scale": scale}
    if fmt.name not in FLOAT8 and not is_torchao_int8(fmt):
        zero_point = scaling.zero_point
        found["_weight_zero_point"] = torch.zeros_like(scale, dtype=torch.int8) if zero_point is None else zero_point
    return found
