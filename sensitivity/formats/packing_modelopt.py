"""Exact bits of a layer as NVIDIA's ModelOpt writes it. No torch here; a test compares with real files.

NVFP4 as in ``W4A16_NVFP4``: two elements a byte, an E4M3 scale per 16 elements, a float32 scale a tensor. FP8 as in
``FP8_PER_CHANNEL_PER_TOKEN``: a byte an element and a float32 scale a row.

ModelOpt's ``FP8`` and ``NVFP4`` quantize activations with a calibrated scale as well, and its per-tensor ``FP8`` is rounded
again where the engine fuses layers; neither is what the weights were measured with, so both are refused.
"""

from functools import lru_cache

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.stored import REMEMBERED, StoredPart, as_it_is, stored_bits

STORED = ("FP8", "NVFP4")
"""Candidate formats that ModelOpt has without calibrated activations."""


def modelopt_refusal(candidate: CandidateFormat, shape: tuple[int, int]) -> str | None:
    """Why a ModelOpt checkpoint cannot store a (out, in) matrix in this format, or ``None`` if it can."""
    reason = candidate.refusal(shape)
    if reason is not None or not candidate.is_quantized:
        return reason
    if candidate.name == "FP8_TENSOR":
        return "ModelOpt's per-tensor FP8 needs calibrated scales of the activations, which a plan has none of; use FP8 or NVFP4"
    if candidate.name not in STORED:
        return f"ModelOpt checkpoints have no {candidate.name}; use {' or '.join(STORED)}"
    if candidate.group_size is not None and shape[1] % candidate.group_size:
        return f"ModelOpt needs in_features divisible by {candidate.group_size} for {candidate.name}, not {shape[1]}"
    return None


@lru_cache(maxsize=REMEMBERED)
def modelopt_size_bits(candidate: CandidateFormat, shape: tuple[int, int]) -> int:
    """Exact stored bits of a (out, in) matrix in a ModelOpt checkpoint, all its tensors together.

    Unquantized layers count 16 bits a weight.

    Raises:
        UnsupportedShapeError: ModelOpt cannot store this shape in this format.
    """
    return stored_bits(modelopt_parts(candidate, shape))


def modelopt_parts(candidate: CandidateFormat, shape: tuple[int, int]) -> tuple[StoredPart, ...]:
    """Tensors of a (out, in) matrix in a ModelOpt checkpoint.

    Raises:
        UnsupportedShapeError: ModelOpt cannot store this shape in this format.
    """
    reason = modelopt_refusal(candidate, shape)
    if reason is not None:
        raise UnsupportedShapeError(reason)
    if not candidate.is_quantized:
        return as_it_is(candidate, shape)
    out_features, in_features = shape
    if candidate.group_size is None:
        return StoredPart("weight", "F8_E4M3", shape), StoredPart("weight_scale", "F32", (out_features,))
    return (
        StoredPart("weight", "U8", (out_features, in_features // 2)),
        StoredPart("weight_scale", "F8_E4M3", (out_features, in_features // candidate.group_size)),
        StoredPart("weight_scale_2", "F32", ()),
    )
