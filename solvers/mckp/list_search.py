"""Exhaustive search of the core: dynamic programming over lists of undominated partial choices.

A state is a set of moves in the runs seen so far: (size change w, reduced cost c). One state dominates another when it is
no larger and its loss ``c − λ·w`` is no greater. Runs come in the order of their cheapest option *per unit of size*, so
that the runs that remain ask at least the rate ``down`` for every unit that a state must still give back and ``up`` for
every unit that it may still take: a state whose ``c + max(down·(w − slack), min(up, λ)·(slack − w))`` reaches the gap of the
incumbent is dropped. This is the list with LP bounds of Pisinger (1995, *A minimal algorithm for the multiple-choice
knapsack problem*) written in reduced costs.
"""

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.mckp.core import Core, Option
from solvers.mckp.moves import Corner, Moves
from solvers.mckp.short_lists import SHORT, extend_by_one, extend_short
from solvers.mckp.tracing import Step, trace_moves
from solvers.solver import Deadline

Sizes = Integers | list[int]
Costs = Floats | list[float]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a search of the core ended with.

    Attributes:
        gap: gap of the best choice known.
        chosen: the moves that make it; ``None`` when nothing beat the incumbent.
        finished: every choice of the core was searched: nothing better exists.
        states: partial choices kept, over all runs.
    """

    gap: float
    chosen: Moves | None
    finished: bool
    states: int


def search_core(
    corner: Corner, core: Core, gap: float, *, max_states: int, deadline: Deadline, width: int | None = None
) -> Found:
    """Find the best choice of the core below ``gap`` and prove it, unless a limit ends the search.

    Args:
        corner: the LP choice that the moves start from.
        core: the moves.
        gap: gap of the incumbent; only a smaller one counts.
        max_states: states to keep over all runs before giving up.
        deadline: looked at before each run.
        width: keep no more states than this a run, those of least bound: a quick search for a better incumbent.
    """
    size: Sizes = [0]
    cost: Costs = [corner.cost]
    steps: list[Step] = []
    chosen: Moves | None = None
    cut = False
    states, price, slack = 0, corner.multiplier, corner.slack
    down, up = core.down, core.up
    for j, (start, options) in enumerate(core.runs()):
        if corner.cost + core.cheapest[j] >= gap or len(size) == 0:
            break
        if states > max_states or deadline.passed():
            return Found(gap, chosen, finished=False, states=states)
        rates = (min(down[j + 1], gap), min(up[j + 1], price))
        size, cost, step = _extended(size, cost, options, start, corner=corner, gap=gap, rates=rates)
        if width is not None and len(size) > width:
            cut = True
            size, cost, step = _narrowed(size, cost, step, corner=corner, rates=rates, width=width)
        steps.append(step)
        states += len(size)
        fitting = bisect_right(size, slack) - 1
        if fitting >= 0 and (better := float(cost[fitting]) + price * (slack - int(size[fitting]))) < gap:
            gap, chosen = better, core.made_by(trace_moves(steps, fitting))
    return Found(gap, chosen, finished=not cut, states=states)


def _extended(
    size: Sizes,
    cost: Costs,
    options: list[Option],
    start: int,
    *,
    corner: Corner,
    gap: float,
    rates: tuple[float, float],
) -> tuple[Sizes, Costs, Step]:
    """All states of one run more that may still matter: number by number where they are few, else as arrays.

    Args:
        size: of each state so far, ascending.
        cost: of each state so far.
        options: of the run.
        start: number of the first of them in the core.
        corner: the LP choice.
        gap: of the incumbent.
        rates: as for ``extend_short``.
    """
    if len(size) * (len(options) + 1) > SHORT:
        return _extend(np.asarray(size), np.asarray(cost), options, start, corner=corner, gap=gap, rates=rates)
    sizes = size.tolist() if isinstance(size, np.ndarray) else size
    costs = cost.tolist() if isinstance(cost, np.ndarray) else cost
    if len(options) == 1:
        return extend_by_one(sizes, costs, options[0], start, corner=corner, gap=gap, rates=rates)
    return extend_short(sizes, costs, options, start, corner=corner, gap=gap, rates=rates)


def _extend(
    size: Integers, cost: Floats, options: list[Option], start: int, *, corner: Corner, gap: float, rates: tuple[float, float]
) -> tuple[Integers, Floats, Step]:
    """All states of one run more that may still matter, by size, their loss falling strictly."""
    parents = size.shape[0]
    size, cost = with_options(size, cost, options)
    origin = (_bounds(size, cost, corner.slack, rates) < gap).nonzero()[0]
    size = size[origin]
    order = size.argsort(kind="stable")
    origin, size = origin[order], size[order]
    cost = cost[origin]
    kept = find_undominated(size, cost - corner.multiplier * size)
    return size[kept], cost[kept], Step(origin[kept], parents, start)


def with_options(size: Integers, cost: Floats, options: list[Option]) -> tuple[Integers, Floats]:
    """Sizes and costs of the states without any of the options, then with the first, and so on."""
    more, price = np.array([option[0] for option in options]), np.array([option[1] for option in options])
    sizes: Integers = np.concatenate((size, (size + more[:, None]).ravel()))
    return sizes, np.concatenate((cost, (cost + price[:, None]).ravel()))


def _bounds(size: Integers, cost: Floats, slack: int, rates: tuple[float, float]) -> Floats:
    """Least gap that a choice from each state can have: ``cost + max(down·over, −up·over)`` with ``over = size − slack``."""
    over = (size - slack).astype(np.float64)
    bound = np.maximum(over * rates[0], over * -rates[1])
    bound += cost
    return bound


def _narrowed(
    size: Sizes, cost: Costs, step: Step, *, corner: Corner, rates: tuple[float, float], width: int
) -> tuple[Integers, Floats, Step]:
    """The ``width`` states of least bound, still by size."""
    size, cost, origin = np.asarray(size), np.asarray(cost), np.asarray(step.origin)
    kept = np.sort(np.argpartition(_bounds(size, cost, corner.slack, rates), width)[:width])
    return size[kept], cost[kept], Step(origin[kept], step.parents, step.start)


def find_undominated(size: Integers, loss: Floats) -> Integers:
    """Positions, of states sorted by size: those with less loss than all before them, and of equal sizes the last of these."""
    better = np.empty(size.shape[0], dtype=bool)
    better[:1] = True
    np.less(loss[1:], np.minimum.accumulate(loss)[:-1], out=better[1:])
    kept: Integers = better.nonzero()[0]
    sizes = size[kept]
    last = np.empty(kept.shape[0], dtype=bool)
    last[-1:] = True
    np.not_equal(sizes[1:], sizes[:-1], out=last[:-1])
    return kept if last.all() else kept[last]
