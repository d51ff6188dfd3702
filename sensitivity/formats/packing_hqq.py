"""Exact bits of a layer as HQQ stores it, and what HQQ cannot store. No torch here.

HQQ's groups lie along the inputs (axis 1) and each has a scale and a zero point of 16 bits. Elements of 8, 6 *and* 5 bits take a
byte, those of 4 and 2 bits are packed to bytes, of 3 bits ten share a word of 32.
"""

from functools import lru_cache
from typing import Final

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat, ElementType
from sensitivity.formats.stored import REMEMBERED, StoredPart, as_it_is, stored_bits

HQQ_BITS: Final = (2, 3, 4, 5, 6, 8)
PER_UNIT: Final = {2: (4, 8), 3: (10, 32), 4: (2, 8), 5: (1, 8), 6: (1, 8), 8: (1, 8)}
"""Elements that share a stored unit, and bits of that unit, by nominal bits."""


def hqq_refusal(candidate: CandidateFormat, shape: tuple[int, int]) -> str | None:
    """Why HQQ cannot store a (out, in) matrix in this format, or ``None`` if it can."""
    reason = candidate.refusal(shape)
    if reason is not None or not candidate.is_quantized:
        return reason
    if candidate.type is not ElementType.INT or candidate.symmetric or candidate.num_bits not in HQQ_BITS:
        return f"HQQ has integers of {', '.join(map(str, HQQ_BITS))} bits with zero points, not {candidate.name}"
    width = candidate.group_size or shape[1]
    if shape[1] % width:
        return f"HQQ needs in_features divisible by {width} for {candidate.name}, not {shape[1]}"
    rows, elements = shape[0] * (shape[1] // width), PER_UNIT[candidate.num_bits][0]
    if candidate.num_bits in (2, 4) and rows % elements:
        return f"HQQ packs {elements} groups of {candidate.name} together, which {rows} groups cannot be divided into"
    return None


@lru_cache(maxsize=REMEMBERED)
def hqq_size_bits(candidate: CandidateFormat, shape: tuple[int, int]) -> int:
    """Exact stored bits of a (out, in) matrix: elements, scales and zero points. Unquantized layers count 16 bits a weight.

    Raises:
        UnsupportedShapeError: HQQ cannot store this shape in this format.
    """
    return stored_bits(hqq_parts(candidate, shape))


def hqq_parts(candidate: CandidateFormat, shape: tuple[int, int]) -> tuple[StoredPart, ...]:
    """Tensors of a (out, in) matrix as HQQ stores it: a group a row.

    Raises:
        UnsupportedShapeError: HQQ cannot store this shape in this format.
    """
    reason = hqq_refusal(candidate, shape)
    if reason is not None:
        raise UnsupportedShapeError(reason)
    if not candidate.is_quantized:
        return as_it_is(candidate, shape)
    width = candidate.group_size or shape[1]
    rows = shape[0] * (shape[1] // width)
    elements, unit_bits = PER_UNIT[candidate.num_bits]
    return (
        StoredPart("W_q", "I32" if unit_bits == 32 else "U8", (-(-rows // elements), width)),
        StoredPart("scale", "BF16", (rows, 1)),
        StoredPart("zero", "BF16", (rows, 1)),
    )
