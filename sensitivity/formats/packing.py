"""Exact bits of a layer as compressed-tensors (>= 0.18) writes it. No torch here; a test compares with real files.

Integer elements are packed densely into int32 words, row by row, with an int64 ``weight_shape`` pair beside them; zero
points are packed along the output dimension. NVFP4 keeps a float32 global scale, MXFP4 a byte per scale. The library has no
NF4 and none of GGUF's block formats, and refuses a group size that does not divide in_features; a format's own ``size_bits``
pads the last group instead.
"""

from functools import lru_cache

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat, ElementType, Strategy
from sensitivity.formats.stored import REMEMBERED, StoredPart, as_it_is, stored_bits

WORD_BITS = 32
SCALE_DTYPES = {"bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e8m0fnu": "U8"}
"""Dtype of stored scales by that of the format; exponents are bytes."""


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


@lru_cache(maxsize=REMEMBERED)
def compressed_tensors_size_bits(candidate: CandidateFormat, shape: tuple[int, int]) -> int:
    """Exact stored bits of a (out, in) matrix in a compressed-tensors file, all its tensors together.

    Unquantized layers count 16 bits a weight.

    Raises:
        UnsupportedShapeError: compressed-tensors cannot store this shape in this format.
    """
    return stored_bits(compressed_tensors_parts(candidate, shape))


def compressed_tensors_parts(candidate: CandidateFormat, shape: tuple[int, int]) -> tuple[StoredPart, ...]:
    """Tensors of a (out, in) matrix in a compressed-tensors file.

    Raises:
        UnsupportedShapeError: compressed-tensors cannot store this shape in this format.
    """
    reason = compressed_tensors_refusal(candidate, shape)
    if reason is not None:
        raise UnsupportedShapeError(reason)
    if not candidate.is_quantized:
        return as_it_is(candidate, shape)
    if candidate.type is ElementType.INT:
        return _integer_parts(candidate, shape)
    out_features, in_features = shape
    scale = SCALE_DTYPES[str(candidate.scale_dtype)]
    if candidate.num_bits == 8:
        scales = (1,) if candidate.strategy is Strategy.TENSOR else (out_features, 1)
        return StoredPart("weight", "F8_E4M3", shape), StoredPart("weight_scale", scale, scales)
    assert candidate.group_size is not None  # noqa: S101  (floats of four bits have groups)
    scales = (out_features, in_features // candidate.group_size)
    found = StoredPart("weight_packed", "U8", (out_features, in_features // 2)), StoredPart("weight_scale", scale, scales)
    return (*found, StoredPart("weight_global_scale", "F32", (1,))) if candidate.tensor_bits else found


def _integer_parts(candidate: CandidateFormat, shape: tuple[int, int]) -> tuple[StoredPart, ...]:
    out_features, in_features = shape
    groups = 1 if candidate.strategy is Strategy.CHANNEL else -(-in_features // (candidate.group_size or in_features))
    found = (
        StoredPart("weight_packed", "I32", (out_features, _words(in_features * candidate.num_bits))),
        StoredPart("weight_scale", "BF16", (out_features, groups)),
        StoredPart("weight_shape", "I64", (2,)),
    )
    if candidate.symmetric:
        return found
    return (*found, StoredPart("weight_zero_point", "I32", (_words(out_features * candidate.num_bits), groups)))


def _words(bits: int) -> int:
    return -(-bits // WORD_BITS)
