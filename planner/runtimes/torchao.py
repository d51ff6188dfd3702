"""torchao's tensor classes, as transformers loads them; q/k/v and gate/up are tied because vLLM fuses them (rule R1).

transformers stacks the experts of a block to two parameters, gate above up and down. Of torchao's classes only ``Float8Tensor``
runs stacked (torchao 0.18: ``Int8Tensor`` has no transpose in three dimensions, ``IntxUnpackedToInt8Tensor`` has two alone).
"""

from planner.runtimes.fused import FUSED_KINDS
from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing_torchao import torchao_refusal, torchao_size_bits


def _refusal(candidate: CandidateFormat, layer: Layer) -> str | None:
    if layer.expert is not None and candidate.is_quantized and candidate.name != "FP8":
        return f"torchao runs the stacked experts of a block in FP8 or unquantized, not in {candidate.name}"
    return torchao_refusal(candidate, layer.shape)


RUNTIME = RuntimeProfile(
    name="torchao",
    description="torchao through transformers: a byte an element in every format, so INT2 to INT7 save nothing over INT8; FP8.",
    ignore_kinds=frozenset({"lm_head"}),
    tied_kinds=FUSED_KINDS,
    tie_experts=True,
    size_bits=torchao_size_bits,
    refusal=_refusal,
    exports=("torchao", "json"),
)
