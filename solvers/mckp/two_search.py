"""Exhaustive search of the core under two budgets; the counterpart of ``list_search``.

A state is a set of moves in the classes seen so far: two size changes and a reduced cost. It is dropped when the planes of the
core say that no choice made from it beats the incumbent, or when another state dominates it: neither size is larger and its
loss ``cost − λ·first − μ·second`` is no greater. With sizes of many values next to no state is dominated, so states are compared
rarely unless comparing them pays.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.mckp.staircase import find_beaten
from solvers.mckp.tracing import Step, trace_moves
from solvers.mckp.two_core import TwoCore
from solvers.mckp.two_moves import TwoCorner, TwoMoves
from solvers.solver import Deadline

STEEP_FROM = 16  # states; fewer are bounded by the planes without a sum alone
COMPARED_FROM = 32  # states; fewer are not compared with each other
RARE = 16  # when fewer than one state in so many is dominated, the next comparison waits
WAIT = 4  # until there are so many times as many states


@dataclass(frozen=True, slots=True, eq=False)
class TwoFound:
    """What a search of the core ended with.

    Attributes:
        gap: gap of the best choice known.
        chosen: the moves that make it; ``None`` when nothing beat the incumbent.
        finished: every choice of the core was searched: nothing better exists.
        states: partial choices kept, over all classes.
    """

    gap: float
    chosen: TwoMoves | None
    finished: bool
    states: int


@dataclass(slots=True, eq=False)
class _States:
    """Partial choices: both sizes, the cost, and where they come from: ``origin = move·parents + parent``, move 0 being none."""

    sizes: Integers
    cost: Floats
    origin: Integers
    parents: int
    start: int

    def pick(self, which: NDArray[np.bool_] | Integers) -> "_States":
        return _States(self.sizes[:, which], self.cost[which], self.origin[which], self.parents, self.start)


def search_two_core(
    corner: TwoCorner, core: TwoCore, gap: float, *, deadline: Deadline, max_states: int | None = None, width: int | None = None
) -> TwoFound:
    """Find the best choice of the core below ``gap`` and prove it, unless a limit ends the search.

    Args:
        corner: the LP choice that the moves start from.
        core: the moves.
        gap: gap of the incumbent; only a smaller one counts.
        max_states: states to keep over all classes before giving up; ``None`` for as many as there are.
        deadline: looked at before each class.
        width: keep no more states than this a class, those of least bound: a quick search for a better incumbent.
    """
    search = _Search(corner, core, gap, width)
    for j in range(core.starts.shape[0] - 1):
        if core.cheapest[j] >= search.gap or search.states.cost.shape[0] == 0:
            break
        if (max_states is not None and search.kept > max_states) or deadline.passed():
            return TwoFound(search.gap, search.chosen, finished=False, states=search.kept)
        search.extend(j)
    return TwoFound(search.gap, search.chosen, finished=not search.cut, states=search.kept)


class _Search:
    """The states after some classes, the best choice so far, and how it came about."""

    def __init__(self, corner: TwoCorner, core: TwoCore, gap: float, width: int | None) -> None:
        self.core, self.gap, self.width = core, gap, width
        self.slacks, self.prices = np.array(corner.slacks)[:, None], np.array(corner.multipliers)
        self.states = _States(np.zeros((2, 1), dtype=np.int64), np.zeros(1), np.zeros(1, dtype=np.int64), 1, 0)
        self.steps: list[Step] = []
        self.kept, self.cut, self.compared_from = 0, False, COMPARED_FROM
        self.chosen: TwoMoves | None = None
        if min(corner.slacks) >= 0 and corner.gap < gap:
            self.gap, self.chosen = corner.gap, core.moves.pick(np.empty(0, dtype=np.int64))

    def extend(self, j: int) -> None:
        """Take one class more."""
        run = slice(int(self.core.starts[j]), int(self.core.starts[j + 1]))
        states = self._bounded(_extended(self.states, self.core.moves, run), j + 1)
        if states.cost.shape[0] >= self.compared_from:
            states = self._compared(states)
        if self.width is not None and states.cost.shape[0] > self.width:
            states, self.cut = self._narrowed(states, j + 1, self.width), True
        self.states = states
        self.steps.append(Step(states.origin, states.parents, states.start))
        self.kept += states.cost.shape[0]
        left = self.slacks - states.sizes
        gaps = np.where((left >= 0).all(axis=0), states.cost + self.prices @ left.astype(np.float64), np.inf)
        if float(gaps.min(initial=np.inf)) < self.gap:
            self.gap, self.chosen = float(gaps.min()), self.core.moves.pick(trace_moves(self.steps, int(gaps.argmin())))

    def _over(self, states: _States) -> Floats:
        over: Floats = (states.sizes - self.slacks).astype(np.float64)
        return over

    def _bounded(self, states: _States, first: int) -> _States:
        near = self.core.bounds(first, self._over(states), states.cost) < self.gap
        states = states.pick(np.flatnonzero(near))
        if states.cost.shape[0] < STEEP_FROM or self.core.steeper.shape[0] == 0:
            return states
        return states.pick(np.flatnonzero(self.core.steep_bounds(first, self._over(states), states.cost) < self.gap))

    def _narrowed(self, states: _States, first: int, width: int) -> _States:
        """The states of least bound."""
        over = self._over(states)
        bounds = self.core.bounds(first, over, states.cost)
        if self.core.steeper.shape[0]:
            bounds = np.maximum(bounds, self.core.steep_bounds(first, over, states.cost))
        return states.pick(np.argpartition(bounds, width)[:width])

    def _compared(self, states: _States) -> _States:
        """The states that no other dominates, by their first size."""
        loss = states.cost - self.prices @ states.sizes
        order = np.lexsort((loss, states.sizes[1], states.sizes[0]))
        order = order[~find_beaten(states.sizes[1][order], loss[order])]
        before, after = states.cost.shape[0], order.shape[0]
        self.compared_from = max(COMPARED_FROM, after if RARE * (before - after) > before else WAIT * after)
        return states.pick(order)


def _extended(states: _States, moves: TwoMoves, run: slice) -> _States:
    """All states, and all of them with each move of one class more."""
    first, second = (
        np.concatenate((old, (old + new[run, None]).ravel())) for old, new in zip(states.sizes, moves.sizes, strict=True)
    )
    cost = np.concatenate((states.cost, (states.cost + moves.cost[run, None]).ravel()))
    return _States(np.stack((first, second)), cost, np.arange(cost.shape[0]), states.cost.shape[0], run.start)
