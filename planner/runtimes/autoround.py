"""AutoRound: symmetric integers in the packing ``auto_round:auto_gptq``, loaded by transformers or vLLM.

Source: AutoRound 0.16's ``torch_zp`` kernels (2 to 8 bits; groups that divide a row, or a whole row). transformers fuses nothing,
but vLLM does and asks that the members of a fused module agree, so q/k/v, gate/up and the experts of a block share one format.
"""

from planner.runtimes.fused import FUSED_KINDS
from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing_gptq import autoround_size_bits, gptq_refusal


def _refusal(candidate: CandidateFormat, layer: Layer) -> str | None:
    return gptq_refusal(candidate, layer.shape)


def _kernel_needs(candidate: CandidateFormat) -> str:
    if not candidate.is_quantized or candidate.num_bits in (4, 8):
        return ""
    return "humming kernels on a GPU of compute capability 7.5 or more; elsewhere AutoRound's own torch kernels"


RUNTIME = RuntimeProfile(
    name="autoround",
    description="AutoRound's checkpoints: symmetric integers; q/k/v, gate/up and the experts of a block share one format.",
    ignore_kinds=frozenset({"lm_head"}),
    tied_kinds=FUSED_KINDS,
    tie_experts=True,
    size_bits=autoround_size_bits,
    refusal=_refusal,
    exports=("autoround", "json"),
    kernel_needs=_kernel_needs,
)
