"""ExLlamaV3: its trellis of one to eight bits a weight, layer by layer, by recompiling uniform models into one.

Source: exllamav3's ``util/recompile.py``. Its formats are another tool's, so a plan needs curves that were measured with them.
The tool pads widths that 128 does not divide; no size here counts that, so they are refused. The models that it puts together
must have tensors of the same names, so none has an unquantized layer in a block; the head may be one (``-hb 16``).
"""

from planner.runtimes.profile import RuntimeProfile, formats_own_size
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.foreign import EXL3_BITS, trellis

FORMATS = tuple(trellis(bits) for bits in EXL3_BITS)
WIDTH = 128
UNQUANTIZED_BLOCK = "exllamav3 puts whole models of 1 to 8 bits together, so every layer of a block is quantized in one of them"


def exllamav3_refusal(candidate: CandidateFormat, shape: tuple[int, int]) -> str | None:
    """Why exllamav3 cannot store a (out, in) matrix in this format, or ``None`` if it can."""
    if candidate.is_quantized and candidate not in FORMATS:
        return f"exllamav3 has no {candidate.name}, only its own trellis: {FORMATS[0].name} to {FORMATS[-1].name}"
    if candidate.is_quantized and any(side % WIDTH for side in shape):
        return f"exllamav3 pads widths that {WIDTH} does not divide, and {shape[0]} × {shape[1]} has one"
    return candidate.refusal(shape)


def _refusal(candidate: CandidateFormat, layer: Layer) -> str | None:
    if layer.block is not None and not candidate.is_quantized:
        return UNQUANTIZED_BLOCK
    return exllamav3_refusal(candidate, layer.shape)


RUNTIME = RuntimeProfile(
    name="exllamav3",
    description="ExLlamaV3: EXL3 of 1 to 8 bits for each layer, recompiled from uniform models.",
    ignore_kinds=frozenset({"lm_head"}),
    tied_kinds=(),
    tie_experts=False,
    size_bits=formats_own_size,
    refusal=_refusal,
    exports=("exllamav3", "json"),
)
