"""OpenVINO, its weights compressed by NNCF: one pass for each format, all other layers ignored.

Source: NNCF 3.4 (``compress_weights`` of the OpenVINO backend). Experts are stacked in OpenVINO's graph, where no layer is one
node, so they stay as they are.
"""

from planner.runtimes.profile import RuntimeProfile, formats_own_size
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat

GROUPS = (32, 64, 128)
MODES: dict[str, tuple[str, int]] = {
    "INT8_CHANNEL": ("int8_sym", -1),
    "INT8_CHANNEL_ASYM": ("int8_asym", -1),
    "INT4_CHANNEL": ("int4_sym", -1),
    "INT4_CHANNEL_ASYM": ("int4_asym", -1),
    **{f"INT4_G{size}": ("int4_sym", size) for size in GROUPS},
    **{f"INT4_G{size}_ASYM": ("int4_asym", size) for size in GROUPS},
    "MXFP4": ("mxfp4", 32),
    "NVFP4": ("nvfp4", 16),
}
"""Candidate format → NNCF's mode and group size; -1 is a row."""


def openvino_refusal(candidate: CandidateFormat, shape: tuple[int, int]) -> str | None:
    """Why NNCF cannot compress a (out, in) matrix to this format, or ``None`` if it can."""
    if candidate.is_quantized and candidate.name not in MODES:
        return f"NNCF has no {candidate.name}; use one of {', '.join(MODES)}"
    if candidate.group_size is not None and shape[1] % candidate.group_size:
        return f"NNCF needs in_features divisible by {candidate.group_size} for {candidate.name}, not {shape[1]}"
    return candidate.refusal(shape)


def _refusal(candidate: CandidateFormat, layer: Layer) -> str | None:
    if layer.expert is not None and candidate.is_quantized:
        return "OpenVINO stacks the experts of a block, so none is a node of its own; leave them unquantized"
    return openvino_refusal(candidate, layer.shape)


RUNTIME = RuntimeProfile(
    name="openvino",
    description="OpenVINO with weights compressed by NNCF: integers of 8 and 4 bits, MXFP4 and NVFP4.",
    ignore_kinds=frozenset({"lm_head"}),
    tied_kinds=(),
    tie_experts=False,
    size_bits=formats_own_size,
    refusal=_refusal,
    exports=("openvino", "json"),
)
