"""Encoded matrices as the tensors of a compressed-tensors file (its layout from 0.18 on).

Elements of b bits lie densely: element i of a row starts at bit i·b, least significant bit first, in int32 words. Zero
points are packed the same way along the output dimension. Two E2M1 codes share a byte, the even element in the low half.
"""

import numpy as np
import torch
from torch import Tensor

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import ElementType, Strategy
from sensitivity.formats.packing import compressed_tensors_refusal
from sensitivity.rounding.codec import Encoded, Scaling


def compressed_tensors(encoded: Encoded) -> dict[str, Tensor]:
    """Tensors of one layer by the last part of their names (``weight_packed``, ``weight_scale``, …).

    Raises:
        UnsupportedShapeError: compressed-tensors cannot store this matrix in this format.
    """
    fmt, scaling = encoded.format, encoded.scaling
    reason = compressed_tensors_refusal(fmt, encoded.shape)
    if reason is not None:
        raise UnsupportedShapeError(reason)
    if scaling is None:
        return {"weight": encoded.codes}
    if fmt.type is ElementType.INT:
        return _packed_integers(encoded, scaling)
    if fmt.num_bits == 8:
        scale = scaling.stored.reshape(1) if fmt.strategy is Strategy.TENSOR else scaling.stored
        return {"weight": encoded.codes, "weight_scale": scale}
    found = {"weight_packed": pack_pairs(encoded.codes), "weight_scale": scaling.stored}
    if scaling.global_scale is not None:
        found["weight_global_scale"] = scaling.global_scale
    return found


def pack_pairs(codes: Tensor) -> Tensor:
    """Two 4-bit codes a byte, the even element in the low half: uint8 (rows, columns) to (rows, columns/2)."""
    return codes[:, ::2] | (codes[:, 1::2] << 4)


def pack_words(codes: Tensor, num_bits: int) -> Tensor:
    """Pack each row of int8 codes into int32 words; codes are stored with 2^(b−1) added.

    Args:
        codes: int8 of shape (rows, columns), within −2^(b−1) … 2^(b−1)−1.
        num_bits: bits b of one code, 1 to 8.

    Returns:
        int32 of shape (rows, ceil(columns·b/32)).
    """
    unsigned = (codes.numpy().astype(np.int16) + (1 << (num_bits - 1))).astype(np.uint8)
    bits = np.unpackbits(unsigned[..., None], axis=-1, count=num_bits, bitorder="little")
    octets = np.packbits(bits.reshape(len(unsigned), -1), axis=-1, bitorder="little")
    octets = np.pad(octets, ((0, 0), (0, -octets.shape[1] % 4)))
    return torch.from_numpy(octets.view("<i4").astype(np.int32, copy=False))


def _packed_integers(encoded: Encoded, scaling: Scaling) -> dict[str, Tensor]:
    num_bits = encoded.format.num_bits
    found = {
        "weight_packed": pack_words(encoded.codes, num_bits),
        "weight_scale": scaling.stored,
        "weight_shape": torch.tensor(encoded.shape, dtype=torch.int64),
    }
    if scaling.zero_point is not None:
        found["weight_zero_point"] = pack_words(scaling.zero_point.T.contiguous(), num_bits).T.contiguous()
    return found
