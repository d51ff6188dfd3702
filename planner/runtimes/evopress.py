"""EvoPress: a simulation, not an engine; levels of a database of dense, fake-quantized layers.

Source: EvoPress' ``eval_ppl.py``. A level is a number of bits and says nothing else, so all levels are of one family: ours are
the symmetric integers in groups of 128, as its own quantizer's by default.
"""

from planner.runtimes.profile import RuntimeProfile, formats_own_size
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat

GROUP_SIZE = 128
LEVELS = {bits: f"INT{bits}_G{GROUP_SIZE}" for bits in range(2, 9)}
"""Candidate format of each level."""


def evopress_refusal(candidate: CandidateFormat, shape: tuple[int, int]) -> str | None:
    """Why a level cannot stand for a (out, in) matrix in this format, or ``None`` if it can."""
    if candidate.is_quantized and LEVELS.get(candidate.num_bits) != candidate.name:
        return f"the levels of EvoPress are {LEVELS[2]} to {LEVELS[8]}, and {candidate.name} is none of them"
    if candidate.is_quantized and shape[1] % GROUP_SIZE:
        return f"EvoPress needs in_features divisible by {GROUP_SIZE}, not {shape[1]}"
    return candidate.refusal(shape)


def _refusal(candidate: CandidateFormat, layer: Layer) -> str | None:
    return evopress_refusal(candidate, layer.shape)


RUNTIME = RuntimeProfile(
    name="evopress",
    description="EvoPress' evaluation: integers of 2 to 8 bits in groups of 128, simulated by dense weights.",
    ignore_kinds=frozenset({"lm_head"}),
    tied_kinds=(),
    tie_experts=False,
    size_bits=formats_own_size,
    refusal=_refusal,
    exports=("evopress", "json"),
)
