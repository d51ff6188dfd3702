"""KL of the next token for one change at a time, from a walk that stands at the door of the layer's block."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor, nn

from sensitivity.next_token import output_head
from sensitivity.probes.base import ProbeRun
from sensitivity.probes.block_walk import leave
from sensitivity.probes.divergence import LogitChange, divergences
from sensitivity.probes.lockstep import AbstractChange, Change, Walk, last_hidden
from sensitivity.probes.rounding_errors import DTYPES

VARIANT_BYTES: Final = 1 << 30
"""How much the hidden states of variants that are run together may take."""


def walks(run: ProbeRun, sequences: Sequence[int]) -> list[Walk]:
    """The walks of these sequences, kept in the run's cache; those of others are forgotten."""
    known: dict[int, Walk] = run.cache.get("walks", {})
    tokens = run.calibration_tokens
    run.cache["walks"] = {s: known.get(s) or Walk(run.model, tokens[s : s + 1]) for s in sequences}
    return list(run.cache["walks"].values())


@dataclass(frozen=True, slots=True)
class SingleChanges:
    """Measures single changes.

    Attributes:
        run: whose model.
        arithmetic: of the products of changes, ``bfloat16`` or ``float32``.
    """

    run: ProbeRun
    arithmetic: str

    def measure(self, walk: Walk, changes: Sequence[AbstractChange]) -> tuple[Collection[nn.Linear], Tensor]:
        """KL(reference ‖ changed) on the walk's sequence.

        Args:
            walk: the reference at the door of a block, or behind the last one.
            changes: in that block, or of the head's weights.

        Returns:
            Layers that the block called, and float64 (changes,) nats per token; zero where the layer was not called.
        """
        if walk.block == len(self.run.model.blocks):
            return self._of_head(walk, cast("Sequence[Change]", changes))
        at_once = max(1, VARIANT_BYTES // walk.states.nbytes)
        called: Collection[nn.Linear] = ()
        samples = torch.zeros(len(changes), dtype=torch.float64)
        for first in range(0, max(1, len(changes)), at_once):
            part = slice(first, first + at_once)
            called, samples[part] = self._of_variants(walk, changes[part])
        return called, samples

    def _of_variants(self, walk: Walk, changes: Sequence[AbstractChange]) -> tuple[Collection[nn.Linear], Tensor]:
        """Variants that are in memory together."""
        head = self._head_weight()
        ends = last_hidden(walk, changes, head.dtype)
        moved = {i: (end - ends.reference).to(head.dtype) for i, end in enumerate(ends.variants) if end is not None}
        sums = divergences(self.run.model.module, ends.reference, [LogitChange(states, head) for states in moved.values()])
        samples = torch.zeros(len(changes), dtype=torch.float64)
        samples[list(moved)] = sums / len(ends.reference)
        return ends.called, samples

    def _of_head(self, walk: Walk, changes: Sequence[Change]) -> tuple[Collection[nn.Linear], Tensor]:
        """The head's own changes: the last hidden states are the reference's."""
        module = self.run.model.module
        hidden = leave(self.run.model, walk.tokens, walk.states)[0]
        states = hidden.to(DTYPES[self.arithmetic])
        sums = divergences(module, hidden, [LogitChange(states, change.error) for change in changes])
        return [cast("nn.Linear", output_head(module))], sums / len(hidden)

    def _head_weight(self) -> Tensor:
        """The head's weight, converted once a run."""
        key = f"head {self.arithmetic}"
        if key not in self.run.cache:
            self.run.cache[key] = cast("nn.Linear", output_head(self.run.model.module)).weight.to(DTYPES[self.arithmetic])
        found: Tensor = self.run.cache[key]
        return found
