"""KL of the next token for one change at a time, from a walk that stands at the door of the layer's block."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from sensitivity.loading import LoadedModel
from sensitivity.next_token import output_head
from sensitivity.probes.base import ProbeRun
from sensitivity.probes.block_walk import leave
from sensitivity.probes.divergence import LogitChange, divergences
from sensitivity.probes.lockstep import AbstractChange, Change, Ends, Walk, last_hidden, last_hidden_of_blocks
from sensitivity.probes.rounding_errors import DTYPES

VARIANT_BYTES: Final = 1 << 30
"""How much the hidden states of variants that are run together may take."""

Measured = tuple[Collection[nn.Linear], Tensor]
"""Layers that a block called, and a sample of each change, float64 (changes,)."""


def walks(run: ProbeRun[Any], sequences: Sequence[int]) -> list[Walk]:
    """The walks of these sequences, kept in the run's cache; those of others are forgotten."""
    known: dict[int, Walk] = run.cache.get("walks", {})
    tokens = run.calibration_tokens
    run.cache["walks"] = {s: known.get(s) or Walk(run.model, tokens[s : s + 1]) for s in sequences}
    return list(run.cache["walks"].values())


def in_groups(
    model: LoadedModel,
    walks: Sequence[Walk],
    changes: Sequence[AbstractChange],
    of_variants: Callable[[Sequence[Walk], Sequence[AbstractChange]], list[Measured]],
) -> list[Measured]:
    """Measure changes on several sequences, as many together as have room: all of a streamed model's, else one after the other.

    Args:
        model: the model.
        walks: references at the door of one block.
        changes: in that block.
        of_variants: what measures those that are in memory together: for each walk the layers that the block called, and a
            sample of each change.

    Returns:
        The same for all walks and changes.
    """
    at_once = max(1, VARIANT_BYTES // walks[0].states.nbytes)
    together = max(1, at_once // max(1, len(changes))) if model.is_streamed else 1
    found: list[Measured] = []
    for first in range(0, len(walks), together):
        group = walks[first : first + together]
        starts = range(0, max(1, len(changes)), at_once)
        parts = [of_variants(group, changes[start : start + at_once]) for start in starts]
        samples = [torch.cat([sums for _, sums in of_walk]) for of_walk in zip(*parts, strict=True)]
        found += [(called, sums) for (called, _), sums in zip(parts[-1], samples, strict=True)]
    return found


@dataclass(frozen=True, slots=True)
class SingleChanges:
    """Measures single changes.

    Attributes:
        run: whose model.
        arithmetic: of the products of changes, ``bfloat16`` or ``float32``.
    """

    run: ProbeRun[Any]
    arithmetic: str

    def measure(self, walk: Walk, changes: Sequence[AbstractChange]) -> Measured:
        """KL(reference ‖ changed) on the walk's sequence.

        Args:
            walk: the reference at the door of a block, or behind the last one.
            changes: in that block, or of the head's weights.

        Returns:
            Layers that the block called, and float64 (changes,) nats per token; zero where the layer was not called.
        """
        return self.measure_each([walk], changes)[0]

    def measure_each(self, walks: Sequence[Walk], changes: Sequence[AbstractChange]) -> list[Measured]:
        """What ``measure`` finds on each of several sequences whose walks are at the same door.

        The blocks of a streamed model are read once for as many sequences as have room for their variants together.
        """
        model = self.run.model
        if walks[0].block == len(model.blocks):
            return [self._of_head(walk, cast("Sequence[Change]", changes)) for walk in walks]
        return in_groups(model, walks, changes, self._of_variants)

    def measure_blocks(self, walk: Walk, changes: Mapping[int, Sequence[Change]]) -> Measured:
        """What ``measure`` finds on one sequence for changes of several blocks, bit for bit, with one pass of the reference.

        The variants join the reference at the doors of their blocks and end with it, so that the head is gone through once. Where
        the states of so many variants have no room, they go in groups, each with a reference of its own.

        Args:
            walk: a reference before the first of the blocks.
            changes: of each block in the order of the blocks; of the number of blocks, the head's.

        Returns:
            Layers that the blocks called, and float64 (changes,) in the order of the blocks.
        """
        blocks = len(self.run.model.blocks)
        called: set[nn.Linear] = set()
        samples: list[Tensor] = []
        within = {block: listed for block, listed in changes.items() if block < blocks}
        for group in _with_room(within, max(1, VARIANT_BYTES // walk.states.nbytes)):
            walk.to(min(group))
            (ends,) = last_hidden_of_blocks([walk], group, self._head_weight().dtype)
            reached, found = self._at_end(ends)
            called.update(reached)
            samples.append(found)
        if blocks in changes:
            walk.to(blocks)
            reached, found = self._of_head(walk, changes[blocks])
            called.update(reached)
            samples.append(found)
        return called, torch.cat(samples)

    def _of_variants(self, walks: Sequence[Walk], changes: Sequence[AbstractChange]) -> list[Measured]:
        """Variants that are in memory together."""
        return [self._at_end(ends) for ends in last_hidden(walks, changes, self._head_weight().dtype)]

    def _at_end(self, ends: Ends) -> Measured:
        head = self._head_weight()
        moved = {i: (end - ends.reference).to(head.dtype) for i, end in enumerate(ends.variants) if end is not None}
        sums = divergences(self.run.model.module, ends.reference, [LogitChange(states, head) for states in moved.values()])
        samples = torch.zeros(len(ends.variants), dtype=torch.float64)
        samples[list(moved)] = sums / len(ends.reference)
        return ends.called, samples

    def _of_head(self, walk: Walk, changes: Sequence[Change]) -> Measured:
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


def _with_room(changes: Mapping[int, Sequence[Change]], room: int) -> Iterator[dict[int, Sequence[Change]]]:
    """The same changes in the same order, in groups of at most ``room``; a block without a change is in one of them."""
    group: dict[int, Sequence[Change]] = {}
    left = room
    for block, listed in changes.items():
        for start in range(0, max(1, len(listed)), room):
            part = listed[start : start + room]
            if group and len(part) > left:
                yield group
                group, left = {}, room
            group[block] = part
            left -= len(part)
    if group:
        yield group
