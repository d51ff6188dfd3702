"""Exact bits of a layer as torchao's tensor classes store it, and what they cannot store. No torch here.

- ``Int8Tensor``, symmetric INT8: a byte an element, a bfloat16 scale a group or row.
- ``IntxUnpackedToInt8Tensor``, every other integer format: a byte an element *whatever its nominal bits*, a bfloat16 scale and a
  byte of zero point a group or row. INT2 saves nothing over INT7 here: torchao packs low bits only for the backends of phones.
- ``Float8Tensor``, FP8: a byte an element, a float32 scale a row, or one for the tensor.

All three run on any device. torchao's packed 4-bit integers need a GPU, its NVFP4 and MXFP4 are prototypes: they are refused.
"""

from functools import lru_cache
from typing import Final

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat, ElementType, Strategy
from sensitivity.formats.stored import REMEMBERED, StoredPart, as_it_is, stored_bits

FLOAT8: Final = frozenset({"FP8", "FP8_TENSOR"})
BYTE: Final = 8


def is_torchao_int8(candidate: CandidateFormat) -> bool:
    """Whether ``Int8Tensor`` stores this format; other integers take ``IntxUnpackedToInt8Tensor``."""
    return candidate.type is ElementType.INT and candidate.num_bits == BYTE and candidate.symmetric


def torchao_refusal(candidate: CandidateFormat, shape: tuple[int, int]) -> str | None:
    """Why torchao cannot store a (out, in) matrix in this format on any device, or ``None`` if it can."""
    reason = candidate.refusal(shape)
    if reason is not None or not candidate.is_quantized or candidate.name in FLOAT8:
        return reason
    if candidate.type is not ElementType.INT:
        return f"torchao stores {candidate.name} on no device, on some, or only as a prototype"
    if candidate.group_size is not None and shape[1] % candidate.group_size:
        return f"torchao needs in_features divisible by {candidate.group_size} for {candidate.name}, not {shape[1]}"
    return None


@lru_cache(maxsize=REMEMBERED)
def torchao_size_bits(candidate: CandidateFormat, shape: tuple[int, int]) -> int:
    """Exact stored bits of a (out, in) matrix in a checkpoint of torchao, all its tensors together.

    Unquantized layers count 16 bits a weight.

    Raises:
        UnsupportedShapeError: torchao cannot store this shape in this format.
    """
    return stored_bits(torchao_parts(candidate, shape))


def torchao_parts(candidate: CandidateFormat, shape: tuple[int, int]) -> tuple[StoredPart, ...]:
    """Tensors of a (out, in) matrix in a checkpoint of torchao.

    Raises:
        UnsupportedShapeError: torchao cannot store this shape in this format.
    """
    reason = torchao_refusal(candidate, shape)
    if reason is not None:
        raise UnsupportedShapeError(reason)
    if not candidate.is_quantized:
        return as_it_is(candidate, shape)
    out_features, in_features = shape
    rows = 1 if candidate.strategy is Strategy.TENSOR else out_features
    groups = (rows, in_features // (candidate.group_size or in_features))
    if candidate.name in FLOAT8:
        return StoredPart("_weight_qdata", "F8_E4M3", shape), StoredPart("_weight_scale", "F32", groups)
    found = StoredPart("_weight_qdata", "I8", shape), StoredPart("_weight_scale", "BF16", groups)
    return found if is_torchao_int8(candidate) else (*found, StoredPart("_weight_zero_point", "I8", groups))
