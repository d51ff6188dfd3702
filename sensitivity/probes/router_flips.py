"""How often routers choose other experts when one layer is changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from sensitivity.errors import UnknownArchitectureError
from sensitivity.loading import LoadedModel
from sensitivity.probe_facts import ROUTER_FLIPS, ProbeFacts
from sensitivity.probes.base import AbstractProbe, ProbeRun, Unit, block_and_sequence_units, with_silent_sequences
from sensitivity.probes.kl import UNIT_SEQUENCES
from sensitivity.probes.lockstep import AbstractChange, Ends, Walk, last_hidden
from sensitivity.probes.rounding_errors import DTYPES
from sensitivity.probes.single_changes import Measured, in_groups, walks
from sensitivity.probes.weight_changes import sequence_statistics, weight_changes
from sensitivity.router_choices import flip_shares, recorded_choices, routers_of
from sensitivity.statistics import Statistics


@final
@dataclass(frozen=True, slots=True)
class RouterFlips(AbstractProbe):
    """Share of the (token, router) pairs of a mixture for which the set of chosen experts changes when layer l is in format k.

    The part of ``kl`` that no smooth estimate sees: a token that is sent elsewhere meets other weights. All routers of the model
    count, those before the layer with no flip, so that numbers of different layers can be compared. A ranking, not a loss. A
    sample is a sequence; silent sequences of an expert are counted as ``kl`` counts them.

    Units, memory and cost are those of ``kl`` without the head.

    Attributes:
        arithmetic: of the products of changes, as for ``kl``.
    """

    facts: ClassVar[ProbeFacts] = ROUTER_FLIPS

    arithmetic: str = "bfloat16"

    def units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """Block and sequences of each unit: all blocks of the first sequences, then those of the next."""
        return block_and_sequence_units(blocks, sequences, UNIT_SEQUENCES)

    @torch.no_grad()
    def run(self, run: ProbeRun, unit: Unit) -> Statistics:
        """Measure the layers of one block on some sequences; the indices are the block's, then the sequences'.

        Raises:
            CalibrationError: the run has no tokens.
            CorruptCheckpointError: a weight is NaN or infinite.
            UnknownArchitectureError: the model has no routers.
        """
        _require_routers(run.model)
        block, *sequences = unit.indices
        result = run.no_statistics()
        layers = run.layers_of_block(block)
        if not layers or block == len(run.model.blocks):
            return result  # what lies outside of the blocks is behind every router
        cells = weight_changes(run, layers, self.arithmetic)
        standing = walks(run, sequences)
        for walk in standing:
            walk.to(block)
        for reached, samples in in_groups(run.model, standing, list(cells.values()), self._of_variants):
            result += sequence_statistics(run, layers, reached, dict(zip(cells, samples.tolist(), strict=True)))
        return result

    def completed(self, merged: Statistics, *, sequences: int) -> Statistics:
        """Count the sequences that sent no token to an expert: each is a sample of zero, if any sequence reached it."""
        return with_silent_sequences(merged, sequences)

    def _of_variants(self, walks: Sequence[Walk], changes: Sequence[AbstractChange]) -> list[Measured]:
        module = walks[0].model.module
        found: dict[nn.Module, list[Tensor]] = {}
        with recorded_choices(module, 1, found):
            ends = last_hidden(walks, changes, DTYPES[self.arithmetic])
        return [
            (end.called, samples / routers_of(module))
            for end, samples in zip(ends, _flips(ends, list(found.values())), strict=True)
        ]


def _flips(ends: Sequence[Ends], calls: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Sum over the routers of the share of flipped tokens, float64 (changes,) for each walk.

    Args:
        ends: of each walk.
        calls: of each router its choices in order: for each walk the reference's, then those of its variants.
    """
    found = [torch.zeros(len(end.variants), dtype=torch.float64) for end in ends]
    for choices in calls:
        remaining = iter(choices)
        for end, samples in zip(ends, found, strict=True):
            reference = next(remaining)
            for i, variant in enumerate(end.variants):
                if variant is not None:
                    samples[i] += flip_shares(reference, next(remaining))[0]
    return found


def _require_routers(model: LoadedModel) -> None:
    if not routers_of(model.module):
        msg = f"{model.description.source} has no routed experts, so no router that could choose others; use the probe kl"
        raise UnknownArchitectureError(msg)
