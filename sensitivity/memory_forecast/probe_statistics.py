"""What each probe holds beside weights and activations: ΔW, score matrices, grams, variants. No torch here."""

from typing import Final

from sensitivity.checkpoint.description import Layer
from sensitivity.memory_forecast.model_sizes import SHARING, ModelSizes, packed_size
from sensitivity.memory_forecast.work import (
    EVALUATION,
    FLOAT32,
    STREAMED_SEQUENCES,
    VARIANT_SEQUENCES,
    Work,
    batch_tokens,
    has_few_cells,
    has_graph,
    has_variants,
)

KEPT_BYTES: Final = 4 << 30
"""The most that rounding errors are kept for (``sensitivity.probes.rounding_errors``)."""

VARIANT_BYTES: Final = 1 << 30
"""The most that the states of variants take (``sensitivity.probes.single_changes``)."""

GRAM_BYTES: Final = 1 << 30
"""The most that the products AᵀA of one layer may take (``sensitivity.probes.output_energies``)."""

TILE: Final = 4096
"""Entries of the vocabulary at a time (``sensitivity.probes.divergence``)."""

_KEEP_ERRORS: Final = frozenset({"fisher", "fisher_interaction", "coverage", "marginal", "salience", "kl", "router_flips"})
_OTHER_WEIGHTS: Final = frozenset({"coverage", "marginal"})


def statistics_bytes(model: ModelSizes, work: Work, *, streamed: bool) -> tuple[int, int]:
    """What stays for the run, and what comes and goes."""
    rounded = model.block_weights if streamed else model.in_blocks
    kept, passing = _errors(model, work, streamed=streamed) if work.probe in _KEEP_ERRORS else (0, 0)
    if work.probe in _OTHER_WEIGHTS:
        kept += FLOAT32 * rounded
    if has_graph(work):
        passing += _scores(model, work, streamed=streamed)
    if has_variants(work):
        passing += _variants(model, work, streamed=streamed)
    if work.probe == "output_error":
        passing += _energies(model, work)
    if work.probe == EVALUATION:  # a block rounded for an assignment while that of the one before it is still there
        passing += 2 * FLOAT32 * model.block_weights
    return kept, passing


def _errors(model: ModelSizes, work: Work, *, streamed: bool) -> tuple[int, int]:
    """ΔW that are kept, of all formats or of named cells; that of the layer in hand, and of some blocks where not all is kept."""
    of_weight = work.formats * work.element_bytes
    size, stack = of_weight * (model.block_weights if streamed else model.in_blocks), of_weight * model.largest
    if work.cells is not None:
        named = work.element_bytes * work.changed
        size, stack = min(size, named) if streamed else named, min(stack, named)
    at_a_time = VARIANT_BYTES if size > KEPT_BYTES and _together(model, work, streamed=streamed) else 0
    return min(size, KEPT_BYTES), stack + at_a_time


def _together(model: ModelSizes, work: Work, *, streamed: bool) -> bool:
    """Whether the variants of all blocks are there at once."""
    return not streamed and has_few_cells(work, model.blocks)


def _scores(model: ModelSizes, work: Work, *, streamed: bool) -> int:
    """Score matrices of a batch, one for each shape; gradients of all draws, and of the KL, at a door."""
    sequences = batch_tokens(work, streamed=streamed) // max(1, work.sequence_length)
    matrices = 0 if work.probe == "hessian_trace" else sequences * work.element_bytes * model.shapes
    waiting = min(work.sequences, STREAMED_SEQUENCES) * work.sequence_length if streamed else batch_tokens(work, streamed=False)
    return matrices + FLOAT32 * (1 + work.draws) * waiting * model.hidden


def _variants(model: ModelSizes, work: Work, *, streamed: bool) -> int:
    """States of variants before and behind a block, their changes at the end; block and head in another dtype; noise; tiles."""
    changes = {"kv_cache": work.formats, "linearity": work.draws * len(model.block), "perplexity_drop": 1}
    count = changes.get(work.probe, work.formats * len(model.block))
    if work.cells is not None:
        count = work.cells if _together(model, work, streamed=streamed) else min(count, work.cells)
    sequences = min(work.sequences, VARIANT_SEQUENCES) if streamed else 1
    of_all = sequences * count * work.sequence_length * model.hidden
    states = 2 * min(FLOAT32 * of_all, VARIANT_BYTES) + min(work.element_bytes * of_all, VARIANT_BYTES)
    noise = work.draws * work.element_bytes * model.block_weights if work.probe == "linearity" else 0
    again = work.element_bytes * (model.block_weights + model.head)
    return states + noise + again + 3 * FLOAT32 * work.sequence_length * min(TILE, model.vocab_size)


def _energies(model: ModelSizes, work: Work) -> int:
    """W and ΔW of a block in all formats, or the products of each with itself; those of a batch's inputs."""
    count, tokens = 1 + work.formats, work.sequences * work.sequence_length
    sequences = batch_tokens(work, streamed=False) // max(1, work.sequence_length)
    widths = {layer.in_features for layer in model.block if layer.kind not in SHARING and _gram_pays(layer, work)}
    grams = sequences * sum(packed_size(width) for width in widths) if tokens else 0
    matrices = sum(packed_size(layer.in_features) if _gram_pays(layer, work) else layer.parameters for layer in model.block)
    return work.element_bytes * (grams + count * (matrices + 2 * model.largest))


def _gram_pays(layer: Layer, work: Work) -> bool:
    """As ``sensitivity.probes.output_energies`` decides."""
    count, tokens = 1 + work.formats, work.sequences * work.sequence_length
    outputs, inputs = layer.shape
    less_work = count * outputs * inputs + tokens * inputs < count * tokens * outputs
    return less_work and count * packed_size(inputs) * work.element_bytes <= GRAM_BYTES
