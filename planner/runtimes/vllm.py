"""vLLM: fused projections share one scheme; weight-only integer, FP8, NVFP4 and MXFP4 through compressed-tensors.

Source: vLLM fuses q/k/v, gate/up and all experts of a block, and every member must carry the identical scheme. What kernels
need is what vLLM 0.32's own selector answered for each device (``shared/exports.md`` §1.4–1.5); nothing was run on a GPU.
"""

from typing import Final

from planner.runtimes.fused import FUSED_KINDS
from planner.runtimes.kv_rules import KVRules, KVTie
from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat, ElementType
from sensitivity.formats.packing import compressed_tensors_refusal, compressed_tensors_size_bits


def _refusal(candidate: CandidateFormat, layer: Layer) -> str | None:
    if candidate.type is ElementType.NORMAL_FLOAT:
        return f"vLLM has no kernel for {candidate.name}"
    return compressed_tensors_refusal(candidate, layer.shape)


MARLIN_GROUPS: Final = (None, 32, 64, 128)
HUMMING: Final = "humming-kernels (part of vLLM's CUDA wheel from 0.33 on), compute capability 7.5 or newer"


def _kernel_needs(candidate: CandidateFormat) -> str:
    if not candidate.is_quantized:
        return ""
    if candidate.type is ElementType.FLOAT:
        if candidate.name == "MXFP4":
            return "compute capability 8.0 or newer; not vLLM on a processor"
        return (
            "compute capability 7.5 or newer; not vLLM on a processor"
            if candidate.num_bits == 4
            else "compute capability 7.5 or newer"
        )
    marlin = candidate.num_bits in ((4, 8) if candidate.symmetric else (4,)) and candidate.group_size in MARLIN_GROUPS
    if not marlin:
        return HUMMING
    return "compute capability 7.5 or newer" + ("; a processor too" if candidate.num_bits == 4 else "")


RUNTIME = RuntimeProfile(
    name="vllm",
    description="vLLM with compressed-tensors checkpoints: q/k/v, gate/up and the experts of a block share one format.",
    ignore_kinds=frozenset({"lm_head"}),
    tied_kinds=FUSED_KINDS,
    tie_experts=True,
    size_bits=compressed_tensors_size_bits,
    refusal=_refusal,
    exports=("compressed-tensors", "json"),
    kv=KVRules(KVTie.ALL, frozenset({"FP8"})),
    kernel_needs=_kernel_needs,
)
