"""vLLM: fused projections share one scheme; weight-only integer, FP8, NVFP4 and MXFP4 through compressed-tensors.

Source: vLLM fuses q/k/v, gate/up and all experts of a block, and every member must carry the identical scheme.
"""

from planner.runtimes.kv_rules import KVRules, KVTie
from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat, ElementType
from sensitivity.formats.packing import compressed_tensors_refusal, compressed_tensors_size_bits


def _refusal(candidate: CandidateFormat, layer: Layer) -> str | None:
    if candidate.type is ElementType.NORMAL_FLOAT:
        return f"vLLM has no kernel for {candidate.name}"
    return compressed_tensors_refusal(candidate, layer.shape)


RUNTIME = RuntimeProfile(
    name="vllm",
    description="vLLM with compressed-tensors checkpoints: q/k/v, gate/up and the experts of a block share one format.",
    ignore_kinds=frozenset({"lm_head"}),
    tied_kinds=(frozenset({"q_proj", "k_proj", "v_proj"}), frozenset({"gate_proj", "up_proj"})),
    tie_experts=True,
    size_bits=compressed_tensors_size_bits,
    refusal=_refusal,
    exports=("compressed-tensors", "json"),
    kv=KVRules(KVTie.ALL, frozenset({"FP8"})),
)
