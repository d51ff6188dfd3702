"""HQQ: integers with zero points, a setting for each linear module; stacked experts are none.

Source: hqq 0.2.8 (``core/quantize.py``). transformers 5 does not load HQQ; the hqq library does, module by module.
"""

from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing_hqq import hqq_refusal, hqq_size_bits


def _refusal(candidate: CandidateFormat, layer: Layer) -> str | None:
    if layer.expert is not None and candidate.is_quantized:
        return "transformers stacks the experts of a block, and HQQ replaces linear modules alone"
    return hqq_refusal(candidate, layer.shape)


RUNTIME = RuntimeProfile(
    name="hqq",
    description="HQQ, module by module: integers with zero points; 5 and 6 bits are stored as 8, 3 bits as 3.2; no experts.",
    ignore_kinds=frozenset({"lm_head"}),
    tied_kinds=(),
    tie_experts=False,
    size_bits=hqq_size_bits,
    refusal=_refusal,
    exports=("hqq", "json"),
)
