"""Exact bits of a layer as compressed-tensors (>= 0.18) writes it. No torch here; a test compares with real files.

Integer elements are packed densely into int32 words, row by row, with an int64 ``weight_shape`` pair beside them; zero
points are packed along the output dimension. NVFP4 keeps a float32 global scale, MXFP4 a byte per scale. The library has no
NF4 and none of GGUF's block formats, and refuses a group size that does not divide in_features; a format's own ``size_bits``
pads the last group instead.
"""

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat, ElementType, Strategy

WORD_BITS = 32
WEIGHT_SHAPE_BITS = 2 * 64


def compressed_tensors_refusal(candidate: CandidateFormat, shape: tuple[int, int]) -> str | None:
    """Why compressed-tensors cannot store a (out, in) matrix in this format, or ``None`` if it can."""
    reason = candidate.refusal(shape)
    if reason is not None:
        return reason
    if candidate.type in (ElementType.NORMAL_FLOAT, ElementType.BLOCK, ElementType.FOREIGN):
        return f"compressed-tensors has no {candidate.name}"
    if candidate.group_size is not None and shape[1] % candidate.group_size:
        return f"compressed-tensors needs in_features divisible by {candidate.group_size} for {candidate.name}, not {shape[1]}"
    return None


def compressed_tensors_size_bits(candidate: CandidateFormat, shape: tuple[int, int]) -> int:
    """Exact stored bits of a (out, in) matrix in a compressed-tensors file, all its tensors together.

    Unquantized layers count 16 bits a weight.

    Raises:
        UnsupportedShapeError: compressed-tensors cannot store this shape in this format.
    """
    reason = compressed_tensors_refusal(candidate, shape)
    if reason is not None:
        raise UnsupportedShapeError(reason)
    if candidate.type is not ElementType.INT:
        return candidate.size_bits(shape)
    out_features, in_features = shape
    groups = 1 if candidate.strategy is Strategy.CHANNEL else -(-in_features // (candidate.group_size or in_features))
    elements = out_features * _words(in_features * candidate.num_bits)
    zero_points = 0 if candidate.symmetric else _words(out_features * candidate.num_bits) * groups
    scales = out_features * groups * candidate.scale_bits
    return (elements + zero_points) * WORD_BITS + scales + WEIGHT_SHAPE_BITS


def _words(bits: int) -> int:
    return -(-bits // WORD_BITS)
