"""Two short lists instead of one long one: a good choice where losses follow sizes and a single list has no end.

The cheapest runs of the core are dealt to two lists of undominated partial choices in turn, until the lists are long, and
every state of one is joined with the best state of the other that still fits (Horowitz and Sahni 1974). Two lists of 10^5
states stand for 10^10 choices, and the join is one binary search: by size the losses of a list fall, so the last state that fits
is the best. What is found is an incumbent, not a proof.
"""

from collections.abc import Sequence

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.mckp.core import Core, Option
from solvers.mckp.list_search import Found, find_undominated, with_options
from solvers.mckp.moves import Corner
from solvers.mckp.tracing import Step, trace_moves
from solvers.solver import Deadline

LENGTH = 100_000  # states of a list


def join_lists(corner: Corner, core: Core, gap: float, *, deadline: Deadline) -> Found:
    """The best choice below ``gap`` that two lists make; ``chosen`` is ``None`` when they make none.

    Args:
        corner: the LP choice that the moves start from.
        core: the moves.
        gap: gap of the incumbent; only a smaller one counts.
        deadline: looked at before each run; lists that it ends are joined as they are.
    """
    runs = list(core.runs())
    first, second = (_List(corner, runs[half::2], gap, deadline) for half in (0, 1))
    partner = np.searchsorted(second.size, corner.slack - first.size, side="right") - 1
    loss = np.where(partner >= 0, first.loss(corner) + second.loss(corner)[partner], np.inf)
    best = int(loss.argmin())
    states = first.size.shape[0] + second.size.shape[0]
    better = corner.gap + float(loss[best])
    if not better < gap:
        return Found(gap, None, finished=False, states=states)
    chosen = core.made_by(np.concatenate((first.trace(best), second.trace(int(partner[best])))))
    return Found(better, chosen, finished=False, states=states)


class _List:
    """The undominated partial choices of some runs, by size; runs are taken until the list is long, or time is up."""

    def __init__(self, corner: Corner, runs: Sequence[tuple[int, list[Option]]], gap: float, deadline: Deadline) -> None:
        self.size, self.cost = np.zeros(1, dtype=np.int64), np.zeros(1)
        self.steps: list[Step] = []
        for start, options in runs:
            if self.size.shape[0] >= LENGTH or deadline.passed():
                break
            self._extend(corner, start, options, gap)

    def _extend(self, corner: Corner, start: int, options: list[Option], gap: float) -> None:
        parents = self.size.shape[0]
        size, cost = with_options(self.size, self.cost, options)
        origin = np.flatnonzero(cost < gap)
        origin = origin[size[origin].argsort(kind="stable")]
        origin = origin[find_undominated(size[origin], cost[origin] - corner.multiplier * size[origin])]
        self.size, self.cost = size[origin], cost[origin]
        self.steps.append(Step(origin, parents, start))

    def loss(self, corner: Corner) -> Floats:
        """Of every state; falling."""
        loss: Floats = self.cost - corner.multiplier * self.size
        return loss

    def trace(self, state: int) -> Integers:
        """The options behind a state."""
        return trace_moves(self.steps, state)
