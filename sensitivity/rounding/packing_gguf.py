"""Encoded matrices as the rows of a GGUF tensor: bytes in ggml's layout, and the type that they have."""

from typing import Final

import torch
from gguf import GGMLQuantizationType
from torch import Tensor

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat, ElementType
from sensitivity.rounding.codec import Encoded
from sensitivity.rounding.gguf_packing import nibbles

_OTHER_NAMES: Final = {"BF16": "BF16", "FP16": "F16", "MXFP4": "MXFP4"}
"""Formats that are no block formats of ours but that ggml has, with its names."""


def ggml_type(fmt: CandidateFormat) -> GGMLQuantizationType:
    """The type of ggml that a format is.

    Raises:
        UnsupportedShapeError: ggml does not have it.
    """
    name = fmt.name if fmt.type is ElementType.BLOCK else _OTHER_NAMES.get(fmt.name)
    if name is None:
        msg = f"GGUF has no {fmt.name}; plan for the runtime llama.cpp"
        raise UnsupportedShapeError(msg)
    return GGMLQuantizationType[name]


def gguf_rows(encoded: Encoded) -> Tensor:
    """Bytes of a matrix, uint8 (out, bytes of a row).

    Raises:
        UnsupportedShapeError: ggml does not have the format.
    """
    kind = ggml_type(encoded.format)
    if kind is GGMLQuantizationType.MXFP4:
        return _mxfp4(encoded)
    return encoded.codes.contiguous().view(torch.uint8)


def _mxfp4(encoded: Encoded) -> Tensor:
    """Blocks of the exponent and the elements, the second half of a block above the first."""
    assert encoded.scaling is not None  # noqa: S101  (every MXFP4 matrix has one)
    rows, columns = encoded.shape
    if columns % 32:
        msg = f"GGUF stores MXFP4 in blocks of 32 inputs, which do not divide {columns}"
        raise UnsupportedShapeError(msg)
    blocks = torch.cat([encoded.scaling.stored.reshape(-1, 1), nibbles(encoded.codes.reshape(-1, 32))], dim=1)
    return blocks.view(rows, -1)
