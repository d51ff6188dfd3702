"""KL of the next token with one layer changed, measured by running the rest of the model."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, cast, final

import numpy as np
import torch
from torch import Tensor, nn

from sensitivity.next_token import output_head
from sensitivity.probe_facts import KL, ProbeFacts
from sensitivity.probes.base import AbstractProbe, ProbeRun, Unit
from sensitivity.probes.block_walk import leave
from sensitivity.probes.divergence import LogitChange, divergences
from sensitivity.probes.lockstep import Change, Walk, last_hidden
from sensitivity.probes.rounding_errors import DTYPES, RoundingErrors
from sensitivity.statistics import Statistics

UNIT_SEQUENCES: Final = 4
"""Sequences of a unit."""

VARIANT_BYTES: Final = 1 << 30
"""How much the hidden states of variants that are run together may take."""

_Cell = tuple[int, int]
"""Indices of layer and format."""


@final
@dataclass(frozen=True, slots=True)
class KLDivergence(AbstractProbe):
    """KL(reference ‖ model with only layer l in format k) of the next token: nats per token, full vocabulary.

    What ``fisher`` estimates, measured: all orders in ΔW are in it, and no labels are drawn. A sample is the mean over the
    tokens of a sequence. Each cell is exact by itself; losses of different layers add up to the loss of a plan as those of
    ``fisher`` do: as far as cross terms and higher orders are small.

    **Mixtures.** A sequence that sends no token to an expert is a sample of zero for it. A unit counts only the sequences that
    reached the layer, and ``completed`` counts the others once the whole run is in: an expert that no sequence reached keeps
    count 0.

    Units: a block × four sequences, in the order of the sequences; a block more stands for the head. A unit that follows the
    one of the block before goes on from its hidden states, others start at the embeddings. Cost: for each cell and
    sequence, the part of the model behind the layer (``last_hidden``) and the head (``divergences``); for each unit, one pass of
    the reference. A cell whose ΔW is zero adds nothing. Memory: the model, the states of one sequence for the cells of a
    block (up to 1 GiB), inputs and outputs of one block's linears, the head once more in bfloat16, and ΔW of all cells (up to
    4 GiB, else rounded anew for each unit).

    Attributes:
        arithmetic: of the products of changes: ΔW with the layer's input, W with the change of a later layer's input, the head
            with the change of the last hidden state. The reference, and all that is not a product with a weight, is float32.
            ``bfloat16`` (accumulated in float32) changes a cell by less than half a percent, and takes two thirds of the time
            where the processor has it.
    """

    facts: ClassVar[ProbeFacts] = KL

    arithmetic: str = "bfloat16"

    def units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """Block and sequences of each unit: all blocks of the first sequences, then those of the next."""
        return [
            Unit(f"{first:06d}-{block:06d}", (block, *range(first, min(first + UNIT_SEQUENCES, sequences))))
            for first in range(0, sequences, UNIT_SEQUENCES)
            for block in range(blocks + 1)
        ]

    @torch.no_grad()
    def run(self, run: ProbeRun, unit: Unit) -> Statistics:
        """Measure the layers of one block on some sequences; the indices are the block's, then the sequences'.

        Raises:
            CalibrationError: the run has no tokens.
            CorruptCheckpointError: a weight is NaN or infinite.
        """
        block, *sequences = unit.indices
        result = run.no_statistics()
        layers = run.layers_of_block(block)
        if layers:
            cells = self._cells(run, layers)
            for walk in _walks(run, sequences):
                walk.to(block)
                result += self._measure(run, walk, layers, cells)
        return result

    def completed(self, merged: Statistics, *, sequences: int) -> Statistics:
        """Count the sequences that sent no token to an expert: each is a sample of zero, if any sequence reached it."""
        result = merged.copy()
        result[..., 0] = np.where(merged[..., 0] > 0, float(sequences), 0.0)
        return result

    def _cells(self, run: ProbeRun, layers: Sequence[tuple[int, str]]) -> dict[_Cell, Change]:
        """What is to be run: cells whose format can store the layer and changes it."""
        errors = RoundingErrors.of(run, self.arithmetic)
        cells: dict[_Cell, Change] = {}
        for index, name in layers:
            changed = ((k, error) for k, error in zip(run.storable(name), errors.stack(name), strict=True) if error.any())
            cells.update({(index, k): Change(run.model.linears[name], error) for k, error in changed})
        return cells

    def _measure(self, run: ProbeRun, walk: Walk, layers: Sequence[tuple[int, str]], cells: Mapping[_Cell, Change]) -> Statistics:
        """Statistics of one sequence."""
        at_head = walk.block == len(run.model.blocks)
        measured = self._of_head if at_head else self._of_block
        reached, samples = measured(run, walk, list(cells.values()))
        found = dict(zip(cells, samples.tolist(), strict=True))
        result = run.no_statistics()
        for index, name in layers:
            if run.model.linears[name] in reached:
                for k in run.storable(name):
                    sample = found.get((index, k), 0.0)
                    result[index, k] = 1.0, sample, sample * sample
        return result

    def _of_block(self, run: ProbeRun, walk: Walk, changes: Sequence[Change]) -> tuple[Collection[nn.Linear], Tensor]:
        """Layers that the block called, and float64 (changes,) nats per token; zero where the layer was not called."""
        at_once = max(1, VARIANT_BYTES // walk.states.nbytes)
        called: Collection[nn.Linear] = ()
        samples = torch.zeros(len(changes), dtype=torch.float64)
        for first in range(0, max(1, len(changes)), at_once):
            part = slice(first, first + at_once)
            called, samples[part] = self._of_variants(run, walk, changes[part])
        return called, samples

    def _of_variants(self, run: ProbeRun, walk: Walk, changes: Sequence[Change]) -> tuple[Collection[nn.Linear], Tensor]:
        """The same for variants that are in memory together."""
        head = self._head_weight(run)
        ends = last_hidden(walk, changes, head.dtype)
        moved = {i: (end - ends.reference).to(head.dtype) for i, end in enumerate(ends.variants) if end is not None}
        sums = divergences(run.model.module, ends.reference, [LogitChange(states, head) for states in moved.values()])
        samples = torch.zeros(len(changes), dtype=torch.float64)
        samples[list(moved)] = sums / len(ends.reference)
        return ends.called, samples

    def _of_head(self, run: ProbeRun, walk: Walk, changes: Sequence[Change]) -> tuple[Collection[nn.Linear], Tensor]:
        """The head's own changes: the last hidden states are the reference's."""
        module = run.model.module
        hidden = leave(run.model, walk.tokens, walk.states)[0]
        moved = hidden.to(DTYPES[self.arithmetic])
        sums = divergences(module, hidden, [LogitChange(moved, change.error) for change in changes])
        return [_head(module)], sums / len(hidden)

    def _head_weight(self, run: ProbeRun) -> Tensor:
        """The head's weight, converted once a run."""
        key = f"head {self.arithmetic}"
        if key not in run.cache:
            run.cache[key] = _head(run.model.module).weight.to(DTYPES[self.arithmetic])
        found: Tensor = run.cache[key]
        return found


def _head(module: nn.Module) -> nn.Linear:
    return cast("nn.Linear", output_head(module))


def _walks(run: ProbeRun, sequences: Sequence[int]) -> list[Walk]:
    """The walks of these sequences; those of others are forgotten."""
    known: dict[int, Walk] = run.cache.get("walks", {})
    tokens = run.calibration_tokens
    run.cache["walks"] = {s: known.get(s) or Walk(run.model, tokens[s : s + 1]) for s in sequences}
    return list(run.cache["walks"].values())
