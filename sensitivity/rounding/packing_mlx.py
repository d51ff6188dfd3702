"""Encoded matrices as the tensors of an MLX checkpoint: ``weight`` in 32-bit words, ``scales``, ``biases`` of the affine mode.

Element i of a row starts at bit i·b of the row, least significant bit first; two E2M1 codes share a byte, the even element in the
low half.
"""

import torch
from torch import Tensor

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.packing_mlx import is_mlx_affine, mlx_refusal
from sensitivity.rounding.codec import Encoded
from sensitivity.rounding.packing import pack_pairs, pack_words


def mlx(encoded: Encoded) -> dict[str, Tensor]:
    """Tensors of one layer by the last part of their names.

    Returns:
        ``weight``: uint32 of shape (out, in·b/32); ``scales``: (out, in/g), bfloat16, or uint8 exponents of ``mxfp4``;
        ``biases``: as ``scales``, of the affine mode alone. An unquantized layer has a ``weight`` of its dtype.

    Raises:
        UnsupportedShapeError: MLX cannot store this matrix in this format.
    """
    reason = mlx_refusal(encoded.format, encoded.shape)
    if reason is not None:
        raise UnsupportedShapeError(reason)
    if encoded.scaling is None:
        return {"weight": encoded.codes}
    scales = encoded.scaling.stored
    if not is_mlx_affine(encoded.format):
        return {"weight": pack_pairs(encoded.codes).contiguous().view(torch.uint32), "scales": scales}
    num_bits = encoded.format.num_bits
    words = pack_words(encoded.codes, num_bits).view(torch.uint32)
    return {"weight": words, "scales": scales, "biases": scales * -(2.0 ** (num_bits - 1))}
