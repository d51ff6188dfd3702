"""Exact bits of a layer in a GPTQ file, as GPTQModel and AutoRound lay it out. No torch here; a test compares with real tensors.

Codes of b bits fill int32 words along the inputs, zero points (stored for symmetric formats too) along the outputs, and a
group has one 16-bit scale: b + 16/g + b/g bits a weight. GPTQModel also keeps an int32 for each input, ``g_idx``. Both pack
blocks of 32 codes, and both engines need groups that divide the inputs.
"""

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat, ElementType

BLOCK = 32
INDEX_BITS = 32


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


def gptqmodel_size_bits(candidate: CandidateFormat, shape: tuple[int, int]) -> int:
    """Exact stored bits of a (out, in) matrix in GPTQModel's file: ``qweight``, ``qzeros``, ``scales`` and ``g_idx``.

    Unquantized layers count 16 bits a weight.

    Raises:
        UnsupportedShapeError: GPTQModel cannot store this shape in this format.
    """
    index = INDEX_BITS * shape[1] if candidate.is_quantized else 0
    return autoround_size_bits(candidate, shape) + index


def autoround_size_bits(candidate: CandidateFormat, shape: tuple[int, int]) -> int:
    """Exact stored bits of a (out, in) matrix in AutoRound's file: ``qweight``, ``qzeros`` and ``scales``.

    Unquantized layers count 16 bits a weight.

    Raises:
        UnsupportedShapeError: AutoRound cannot store this shape in this format.
    """
    reason = gptq_refusal(candidate, shape)
    if reason is not None:
        raise UnsupportedShapeError(reason)
    if not candidate.is_quantized:
        return candidate.size_bits(shape)
    out_features, in_features = shape
    groups = out_features * in_features // (candidate.group_size or in_features)
    return out_features * in_features * candidate.num_bits + groups * (candidate.scale_bits + candidate.num_bits)


def _shape_refusal(candidate: CandidateFormat, shape: tuple[int, int]) -> str | None:
    out_features, in_features = shape
    if in_features % BLOCK or out_features % BLOCK:
        return f"GPTQ files pack blocks of {BLOCK} codes, so both sides of a matrix must be divisible by {BLOCK}, not {shape}"
    if candidate.group_size is not None and in_features % candidate.group_size:
        return f"{candidate.name} needs in_features divisible by {candidate.group_size}, not {in_features}"
    return None
