"""LieQ's first diagnostic: what the text's perplexity loses when a block is skipped."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np
import torch
from torch import Tensor, nn

from sensitivity.errors import CalibrationError
from sensitivity.formats.any_format import AnyFormat
from sensitivity.next_token import next_token_loss
from sensitivity.probe_facts import PERPLEXITY_DROP, ProbeFacts
from sensitivity.probes.base import AbstractProbe, ProbeRun, Unit, block_and_sequence_units
from sensitivity.probes.block_walk import BlockCall
from sensitivity.probes.linear_calls import Answer, LinearCall
from sensitivity.probes.lockstep import AbstractChange, Ends, Walk, last_hidden
from sensitivity.probes.single_changes import walks
from sensitivity.statistics import Statistics, observe

UNIT_SEQUENCES: Final = 4
"""Sequences of a unit."""


@final
@dataclass(frozen=True)
class SkippedBlock(AbstractChange):
    """The block that the walk is at is left out: what comes to its door goes on."""

    layer: None = None

    def answers(self, linears: Mapping[nn.Linear, LinearCall]) -> dict[nn.Linear, Answer]:
        """The block is not run."""
        return {}

    def through(self, block: nn.Module, call: BlockCall, states: Tensor) -> Tensor:
        """The states themselves."""
        return states


@final
@dataclass(frozen=True, slots=True)
class PerplexityDrop(AbstractProbe[AnyFormat]):
    """Mean NLL of the text's tokens without the layer's block − with it, the same for all layers of a block.

    The functional importance of LieQ (arXiv 2508.03332). Our reading: LieQ subtracts perplexities; a cell here is the logarithm
    of their ratio, in nats per token, so that sequences are samples with a mean and a standard error. Where sequences are of
    one length, both put the blocks into the same order. A ranking: no format skips a block. Negative where the text is
    better predicted without it.

    Units: a block × four sequences. Cost: for each block and sequence, the part of the model behind it, and the head; for each
    unit, one pass of the reference. All float32.
    """

    facts: ClassVar[ProbeFacts] = PERPLEXITY_DROP

    def units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """Block and sequences of each unit: all blocks of the first sequences, then those of the next."""
        return [unit for unit in block_and_sequence_units(blocks, sequences, UNIT_SEQUENCES) if unit.indices[0] < blocks]

    @torch.no_grad()
    def run(self, run: ProbeRun[AnyFormat], unit: Unit) -> Statistics:
        """Measure one block on some sequences; the indices are the block's, then the sequences'.

        Raises:
            CalibrationError: the run has no tokens, or sequences of a single one.
        """
        block, *sequences = unit.indices
        result = run.no_statistics()
        layers = run.layers_of_block(block)
        if not layers:
            return result
        if run.calibration_tokens.shape[1] < 2:
            msg = "perplexity needs sequences of at least two tokens; give the run a calibration set of longer ones"
            raise CalibrationError(msg)
        standing = walks(run, sequences)
        for walk in standing:
            walk.to(block)
        ends = last_hidden(standing, [SkippedBlock()], torch.float32)
        samples = np.array([_drop(walk, end) for walk, end in zip(standing, ends, strict=True)])
        for index, name in layers:
            result[index, run.storable(name)] = observe(samples)
        return result


def _drop(walk: Walk, ends: Ends) -> float:
    """Of one sequence, nats per token."""
    (skipped,) = ends.variants
    assert skipped is not None  # noqa: S101  (a change without a layer always has a variant)
    module, tokens = walk.model.module, walk.tokens[0]
    return next_token_loss(module, skipped, tokens) - next_token_loss(module, ends.reference, tokens)
