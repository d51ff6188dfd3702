"""optimum-quanto: ``qint2``, ``qint4``, ``qint8`` and ``qfloat8`` weights of ``nn.Linear``; stacked experts are none.

Source: optimum-quanto 0.2.7 (``nn/qmodule.py`` chooses the groups, ``quantize.requantize`` reads the map).
"""

from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing_quanto import quanto_refusal, quanto_size_bits


def _refusal(candidate: CandidateFormat, layer: Layer) -> str | None:
    if layer.expert is not None and candidate.is_quantized:
        return "transformers stacks the experts of a block, and quanto quantizes linear modules alone"
    return quanto_refusal(candidate, layer.shape)


RUNTIME = RuntimeProfile(
    name="quanto",
    description="optimum-quanto: INT2 and INT4 in groups that it chooses, INT8 and FP8 by rows; experts are left as they are.",
    ignore_kinds=frozenset({"lm_head"}),
    tied_kinds=(),
    tie_experts=False,
    size_bits=quanto_size_bits,
    refusal=_refusal,
    exports=("quanto", "json"),
)
