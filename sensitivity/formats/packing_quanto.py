"""Exact bits of a layer as optimum-quanto stores it, and what quanto cannot store. No torch here.

- ``qint2`` and ``qint4``: codes packed to bytes, a scale and a shift of 16 bits for each group: weight = code·scale − shift. A
  symmetric format of ours fits exactly, its shift is a power of two times the scale. Quanto chooses the size of the groups by
  itself: the largest of 128, 96, 64 and 32 that divides the inputs, whole rows for 128 inputs or fewer. A format is legal where
  its groups are quanto's.
- ``qint8``, ``qfloat8``: a byte an element, a bfloat16 scale a row.

Each quantized layer also has a scale of its inputs and one of its outputs, which are 1: only activations would need them.
"""

from functools import lru_cache
from typing import Final

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat, ElementType, Strategy
from sensitivity.formats.stored import REMEMBERED, StoredPart, as_it_is, stored_bits

BYTE: Final = 8
GREATEST_GROUP: Final = 128
GROUP_STEP: Final = 32
ACTIVATION_SCALES: Final = (StoredPart("input_scale", "BF16", ()), StoredPart("output_scale", "BF16", ()))
_WHOLE: Final = frozenset({"INT8_CHANNEL", "FP8"})


def quanto_group_size(in_features: int) -> int | None:
    """Elements of a row that share a scale in ``qint2`` and ``qint4``; ``None`` for whole rows."""
    if in_features <= GREATEST_GROUP:
        return None
    sizes = range(GREATEST_GROUP, 0, -GROUP_STEP)
    return next((size for size in sizes if in_features % size == 0), None)


def is_quanto_packed(candidate: CandidateFormat) -> bool:
    """Whether the format has the elements of ``qint2`` or ``qint4``."""
    return candidate.type is ElementType.INT and candidate.num_bits in (2, 4) and candidate.symmetric


def quanto_refusal(candidate: CandidateFormat, shape: tuple[int, int]) -> str | None:
    """Why quanto cannot store a (out, in) matrix in this format, or ``None`` if it can."""
    reason = candidate.refusal(shape)
    if reason is not None or not candidate.is_quantized or candidate.name in _WHOLE:
        return reason
    if not is_quanto_packed(candidate):
        return f"quanto has symmetric INT2 and INT4 in its own groups, INT8_CHANNEL and FP8, not {candidate.name}"
    own = quanto_group_size(shape[1])
    wanted = None if candidate.strategy is Strategy.CHANNEL else candidate.group_size
    if own != wanted:
        words = "whole rows" if own is None else f"groups of {own}"
        return f"quanto stores {shape[1]} inputs in {words}, not as {candidate.name}"
    return None


@lru_cache(maxsize=REMEMBERED)
def quanto_size_bits(candidate: CandidateFormat, shape: tuple[int, int]) -> int:
    """Exact stored bits of a (out, in) matrix in a checkpoint of quanto, all its tensors together.

    Unquantized layers count 16 bits a weight.

    Raises:
        UnsupportedShapeError: quanto cannot store this shape in this format.
    """
    return stored_bits(quanto_parts(candidate, shape))


def quanto_parts(candidate: CandidateFormat, shape: tuple[int, int]) -> tuple[StoredPart, ...]:
    """Tensors of a (out, in) matrix in a checkpoint of quanto.

    Raises:
        UnsupportedShapeError: quanto cannot store this shape in this format.
    """
    reason = quanto_refusal(candidate, shape)
    if reason is not None:
        raise UnsupportedShapeError(reason)
    if not candidate.is_quantized:
        return as_it_is(candidate, shape)
    out_features, in_features = shape
    if not is_quanto_packed(candidate):
        element = "I8" if candidate.type is ElementType.INT else "F8_E4M3"
        scales = StoredPart("weight._scale", "BF16", (out_features, 1))
        return StoredPart("weight._data", element, shape), scales, *ACTIVATION_SCALES
    width = candidate.group_size or in_features
    rows = out_features * (in_features // width)
    return (
        StoredPart("weight._data._data", "U8", (-(-rows * candidate.num_bits // BYTE), width)),
        StoredPart("weight._scale", "BF16", (rows, 1)),
        StoredPart("weight._shift", "BF16", (rows, 1)),
        *ACTIVATION_SCALES,
    )
