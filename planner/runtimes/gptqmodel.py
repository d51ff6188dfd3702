"""GPTQModel: symmetric integers in GPTQ files, one rule of ``dynamic`` for each set of layers.

Sources: GPTQModel 7.7's TorchLinear (2 to 8 bits; groups of 32, 64, 128 or a whole row). It fuses nothing, but vLLM and SGLang,
which serve its files, do, so q/k/v, gate/up and the experts of a block share one format.
"""

from planner.runtimes.fused import FUSED_KINDS
from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing_gptq import gptq_refusal, gptqmodel_size_bits


def _refusal(candidate: CandidateFormat, layer: Layer) -> str | None:
    return gptq_refusal(candidate, layer.shape)


def _kernel_needs(candidate: CandidateFormat) -> str:
    if not candidate.is_quantized or candidate.num_bits in (4, 8):
        return ""
    if candidate.num_bits in (2, 3):
        return "GPTQModel's own kernels: vLLM loads only 4 and 8 bits"
    return "GPTQModel's planar layout of the whole file, which no other engine loads"


RUNTIME = RuntimeProfile(
    name="gptqmodel",
    description="GPTQModel's checkpoints: symmetric integers; q/k/v, gate/up and the experts of a block share one format.",
    ignore_kinds=frozenset({"lm_head"}),
    tied_kinds=FUSED_KINDS,
    tie_experts=True,
    size_bits=gptqmodel_size_bits,
    refusal=_refusal,
    exports=("gptqmodel", "json"),
    kernel_needs=_kernel_needs,
)
