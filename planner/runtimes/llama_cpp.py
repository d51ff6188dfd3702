"""llama.cpp: the block types of ggml, MXFP4 and 16-bit floats for each tensor by itself; nothing is fused.

The experts of a projection are one three-dimensional tensor, which has one type. Norms, biases and routers are kept in float32,
the embedding as it is. Source: llama.cpp's quantizer and converter, as run and read in the study of exports (section 4): types
whose block does not divide the columns of a tensor are demoted there without an error, so they are refused here.
"""

from typing import Final

from planner.runtimes.kv_rules import KVRules, KVTie
from planner.runtimes.profile import RuntimeProfile, formats_own_size
from planner.runtimes.rest import others_in_float32
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat, ElementType

OTHER_FORMATS: Final = frozenset({"MXFP4", "BF16", "FP16"})
"""Formats that are ggml's, too, under the same or another name."""


def _refusal(candidate: CandidateFormat, layer: Layer) -> str | None:
    if candidate.type is not ElementType.BLOCK and candidate.name not in OTHER_FORMATS:
        return f"llama.cpp has no {candidate.name}"
    if candidate.group_size is not None and layer.in_features % candidate.group_size:
        return f"{candidate.name} stores blocks of {candidate.group_size} inputs, which do not divide {layer.in_features}"
    return candidate.refusal(layer.shape)


RUNTIME = RuntimeProfile(
    name="llama.cpp",
    description="llama.cpp with GGUF files: each tensor has a type of its own; experts of a projection share one.",
    ignore_kinds=frozenset({"lm_head"}),
    tied_kinds=(),
    tie_experts=False,
    tie_expert_kinds=True,
    size_bits=formats_own_size,
    refusal=_refusal,
    exports=("llama.cpp", "json"),
    kv=KVRules(KVTie.TENSOR, frozenset({"Q8_0", "Q4_0"})),
    rest_bytes=others_in_float32,
)
