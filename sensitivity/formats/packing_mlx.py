"""Exact bits of a layer as MLX stores it, and what MLX cannot store. No torch here; a test compares with real files.

MLX's affine mode keeps unsigned codes of b bits densely in 32-bit words, with a scale and a bias of 16 bits for each group of a
row: weight = code·scale + bias. A symmetric integer format of ours fits exactly: its codes are shifted by 2^(b−1), and the bias
−2^(b−1)·scale is a power of two times the scale, which bfloat16 holds. The bias of an asymmetric format is no such product, so
those are refused. The mode ``mxfp4`` is ours: E2M1 codes under a power of two for every 32.
"""

from functools import lru_cache
from typing import Final

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat, ElementType, Strategy
from sensitivity.formats.stored import REMEMBERED, StoredPart, as_it_is, stored_bits

MLX_BITS: Final = (2, 3, 4, 5, 6, 8)
MLX_GROUP_SIZES: Final = (32, 64, 128)
WORD_BITS: Final = 32


def is_mlx_affine(candidate: CandidateFormat) -> bool:
    """Whether MLX's affine mode decodes this format's own codes exactly."""
    return (
        candidate.type is ElementType.INT
        and candidate.symmetric
        and candidate.num_bits in MLX_BITS
        and candidate.group_size in MLX_GROUP_SIZES
    )


def mlx_refusal(candidate: CandidateFormat, shape: tuple[int, int]) -> str | None:
    """Why MLX cannot store a (out, in) matrix in this format, or ``None`` if it can."""
    reason = candidate.refusal(shape)
    if reason is not None or not candidate.is_quantized:
        return reason
    if not is_mlx_affine(candidate) and candidate.name != "MXFP4":
        return _unknown(candidate)
    if candidate.group_size is not None and shape[1] % candidate.group_size:
        return f"MLX needs in_features divisible by {candidate.group_size} for {candidate.name}, not {shape[1]}"
    return None


@lru_cache(maxsize=REMEMBERED)
def mlx_size_bits(candidate: CandidateFormat, shape: tuple[int, int]) -> int:
    """Exact stored bits of a (out, in) matrix in a checkpoint of MLX, all its tensors together.

    Raises:
        UnsupportedShapeError: MLX cannot store this shape in this format.
    """
    return stored_bits(mlx_parts(candidate, shape))


def mlx_parts(candidate: CandidateFormat, shape: tuple[int, int]) -> tuple[StoredPart, ...]:
    """Tensors of a (out, in) matrix in a checkpoint of MLX.

    Raises:
        UnsupportedShapeError: MLX cannot store this shape in this format.
    """
    reason = mlx_refusal(candidate, shape)
    if reason is not None:
        raise UnsupportedShapeError(reason)
    if candidate.group_size is None:
        return as_it_is(candidate, shape)
    out_features, in_features = shape
    words = StoredPart("weight", "U32", (out_features, in_features * candidate.num_bits // WORD_BITS))
    groups = (out_features, in_features // candidate.group_size)
    if not is_mlx_affine(candidate):
        return words, StoredPart("scales", "U8", groups)
    return words, StoredPart("scales", "BF16", groups), StoredPart("biases", "BF16", groups)


def _unknown(candidate: CandidateFormat) -> str:
    if candidate.is_foreign:
        return f"{candidate.name} is another tool's format, which nothing here packs: plan with INT formats instead"
    if candidate.type is not ElementType.INT:
        return f"MLX has no {candidate.name}"
    if not candidate.symmetric:
        return f"the bias of {candidate.name} is no bfloat16 number in general, so MLX would decode other weights"
    if candidate.strategy is Strategy.CHANNEL:
        return f"MLX has groups of {', '.join(map(str, MLX_GROUP_SIZES))} along the inputs, no whole rows ({candidate.name})"
    return f"MLX has integers of {', '.join(map(str, MLX_BITS))} bits, not {candidate.num_bits} ({candidate.name})"
