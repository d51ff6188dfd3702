"""A probe run as the forecast of its memory sees it: what it is, and how many tokens pass the model together. No torch here."""

from dataclasses import dataclass
from typing import Final

from sensitivity.checkpoint.description import SourceKind
from sensitivity.rounding_facts import get_rounding_facts

FLOAT32: Final = 4
"""Bytes of an element."""

BATCH_TOKENS: Final = 2048
"""Tokens of a pass, unless a single sequence is longer (``sensitivity.probes.block_walk``)."""

GRAPH_SEQUENCES: Final = 8
"""The most sequences of a unit of a probe with a graph of the whole model."""

VARIANT_SEQUENCES: Final = 4
"""Sequences of a unit of ``kl`` and its like (``sensitivity.probes.kl``)."""

EVALUATED_SEQUENCES: Final = 4
"""Held-out sequences of a unit of an evaluation, of a model that is held whole."""

FEW_CELLS: Final = 8
"""Named cells for each block, on average, up to which ``kl`` has units of all blocks' cells on one sequence."""

STREAMED_SEQUENCES: Final = 32
"""The most sequences of a unit of a streamed model."""

EVALUATION: Final = "evaluation"
"""What a run is called that is no probe's: assignments beside the reference, as many as it has formats, a unit at a time."""

_GRAPHS: Final = frozenset({"fisher", "fisher_interaction", "coverage", "marginal", "hessian_trace", "salience"})
_VARIANTS: Final = frozenset({"kl", "linearity", "kv_cache", "router_flips", "perplexity_drop"})
_WALKED: Final = frozenset({"output_error", "compactness", "energy_gain", EVALUATION})


@dataclass(frozen=True, slots=True)
class Work:
    """A probe run.

    Attributes:
        probe: its name.
        rounding: name of the rounding method.
        formats: candidate formats measured together; of an evaluation its assignments.
        sequences: sequences of the calibration set, 0 without one; of an evaluation those of a unit.
        sequence_length: tokens of each.
        draws: label draws, noise levels: what the probe holds several of.
        element_bytes: bytes of an element of ΔW and of inputs that are kept: 2 in bfloat16, 4 in float32.
        characters: of the calibration text, before it is cut.
        stored_bytes: bytes of a parameter in the checkpoint's files.
        cells: cells that are named one by one; ``None`` for all formats of all layers.
        changed: weights of the named cells' layers, each as often as it has a cell.
    """

    probe: str
    rounding: str
    formats: int
    sequences: int
    sequence_length: int
    draws: int = 1
    element_bytes: int = 2
    characters: int = 0
    stored_bytes: int = 2
    cells: int | None = None
    changed: int = 0


def stored_bytes(kind: SourceKind, dtype: str) -> int:
    """Bytes of a parameter in a checkpoint's files: at most one in a GGUF, whose types are not looked at."""
    if kind is SourceKind.GGUF:
        return 1
    return 4 if dtype == "float32" else 2


def has_graph(work: Work) -> bool:
    """Whether a backward pass is run."""
    return work.probe in _GRAPHS


def has_variants(work: Work) -> bool:
    """Whether single changes are run one sequence at a time."""
    return work.probe in _VARIANTS


def has_few_cells(work: Work, blocks: int) -> bool:
    """Whether single changes of all blocks are in one unit, if the whole model is in memory."""
    return work.probe == "kl" and work.cells is not None and work.cells <= FEW_CELLS * (blocks + 1)


def is_walked(work: Work) -> bool:
    """Whether the states of all sequences wait at a block's door, for the probe or for the rounding method."""
    return work.probe in _WALKED or get_rounding_facts(work.rounding).needs_inputs


def batch_tokens(work: Work, *, streamed: bool, unit: bool = False) -> int:
    """Tokens of a pass, or of all sequences of a unit."""
    if has_variants(work):
        most = VARIANT_SEQUENCES if unit else 1
    elif work.probe == "salience":
        most = 1
    else:
        most = max(1, BATCH_TOKENS // max(1, work.sequence_length))
        if has_graph(work):
            most = min(most, STREAMED_SEQUENCES if streamed else GRAPH_SEQUENCES)
        if unit and streamed:
            most = STREAMED_SEQUENCES
    return min(most, work.sequences) * work.sequence_length
