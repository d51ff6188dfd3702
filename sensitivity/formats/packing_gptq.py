"""Exact bits of a layer in a GPTQ file, as GPTQModel and AutoRound lay it out. No torch here; a test compares with real tensors.

Codes of b bits fill int32 words along the inputs, zero points (stored for symmetric formats too) along the outputs, and a
group has one 16-bit scale: b + 16/g + b/g bits a weight. GPTQModel also keeps an int32 for each input, ``g_idx``. Both pack
blocks of 32 codes, and both engines need groups that divide the inputs.
"""

from functools import lru_cache

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat, ElementType
from sensitivity.formats.stored import REMEMBERED, StoredPart, as_it_is, stored_bits

BLOCK = 32


def gptq_refusal(candidate: CandidateFormat, shape: tuple[int, int]) -> str | None:
    """Why a GPTQ file cannot store a (out, in) matrix in this format, or ``None`` if it can."""
    reason = candidate.refusal(shape)
    if reason is not None or not candidate.is_quantized:
        return reason
    if candidate.type is not ElementType.INT:
        return f"GPTQ files hold integers, not {candidate.name}"
    if not candidate.symmetric:
        return f"one file is symmetric or asymmetric as a whole; {candidate.name} is asymmetric: use {candidate.name[:-5]}"
    return _shape_refusal(candidate, shape)


@lru_cache(maxsize=REMEMBERED)
def gptqmodel_size_bits(candidate: CandidateFormat, shape: tuple[int, int]) -> int:
    """Exact stored bits of a (out, in) matrix in GPTQModel's file: ``qweight``, ``qzeros``, ``scales`` and ``g_idx``.

    Unquantized layers count 16 bits a weight.

    Raises:
        UnsupportedShapeError: GPTQModel cannot store this shape in this format.
    """
    return stored_bits(gptqmodel_parts(candidate, shape))


@lru_cache(maxsize=REMEMBERED)
def autoround_size_bits(candidate: CandidateFormat, shape: tuple[int, int]) -> int:
    """Exact stored bits of a (out, in) matrix in AutoRound's file: ``qweight``, ``qzeros`` and ``scales``.

    Unquantized layers count 16 bits a weight.

    Raises:
        UnsupportedShapeError: AutoRound cannot store this shape in this format.
    """
    return stored_bits(autoround_parts(candidate, shape))


def gptqmodel_parts(candidate: CandidateFormat, shape: tuple[int, int]) -> tuple[StoredPart, ...]:
    """Tensors of a (out, in) matrix in GPTQModel's file.

    Raises:
        UnsupportedShapeError: GPTQModel cannot store this shape in this format.
    """
    found = _parts(candidate, shape, scale="BF16")
    return (*found, StoredPart("g_idx", "I32", (shape[1],))) if candidate.is_quantized else found


def autoround_parts(candidate: CandidateFormat, shape: tuple[int, int]) -> tuple[StoredPart, ...]:
    """Tensors of a (out, in) matrix in AutoRound's file, whose scales are in float16.

    Raises:
        UnsupportedShapeError: AutoRound cannot store this shape in this format.
    """
    return _parts(candidate, shape, scale="F16")


def _parts(candidate: CandidateFormat, shape: tuple[int, int], *, scale: str) -> tuple[StoredPart, ...]:
    reason = gptq_refusal(candidate, shape)
    if reason is not None:
        raise UnsupportedShapeError(reason)
    if not candidate.is_quantized:
        return as_it_is(candidate, shape)
    out_features, in_features = shape
    groups = in_features // (candidate.group_size or in_features)
    return (
        StoredPart("qweight", "I32", (in_features * candidate.num_bits // BLOCK, out_features)),
        StoredPart("qzeros", "I32", (groups, out_features * candidate.num_bits // BLOCK)),
        StoredPart("scales", scale, (groups, out_features)),
    )


def _shape_refusal(candidate: CandidateFormat, shape: tuple[int, int]) -> str | None:
    out_features, in_features = shape
    if in_features % BLOCK or out_features % BLOCK:
        return f"GPTQ files pack blocks of {BLOCK} codes, so both sides of a matrix must be divisible by {BLOCK}, not {shape}"
    if candidate.group_size is not None and in_features % candidate.group_size:
        return f"{candidate.name} needs in_features divisible by {candidate.group_size}, not {in_features}"
    return None
