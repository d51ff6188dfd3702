"""Exhaustive search of the core under two budgets; the counterpart of ``list_search``.

A state is a set of moves in the classes seen so far: two size changes and a reduced cost. One state dominates another when
neither size is larger and its loss ``cost − λ·first − μ·second`` is no greater. What the classes to come ask of a state is
bounded in several directions of the plane of sizes: along ``u`` no move gives back a unit for less than ``rate(u)``, so that
a state whose sizes lie ``over`` the slacks has at least the gap ``cost + rate(u)·(u·over)``. In directions that point to
unused budget the rate is at most what the multipliers charge for it.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.solver import Deadline
from solvers.two_moves import TwoCorner, TwoMoves

DIRECTIONS = 24
STEEPEST = 1e3  # gaps per unit of an oblique direction, where no move goes against it: rounding must not decide
LEAF = 16
COMPARED_FROM = 32  # states; fewer are not compared with each other
RARE = 16  # when fewer than one state in so many is dominated, the next comparison waits
WAIT = 4  # until there are so many times as many states

T = TypeVar("T", bound=np.generic)


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


@dataclass(frozen=True, slots=True, eq=False)
class TwoCore:
    """The moves that may be part of a better choice, class by class.

    Attributes:
        moves: sorted so that a class is one run, the class with the cheapest move per length first.
        starts: int64 ``[C + 1]``, where the runs begin, and the end.
        cheapest: float64 ``[C + 1]``, least cost of a move in this class and those after it; ``inf`` at the end.
        slopes: float64 ``[C + 1, D, 2]``, rate(u)·u of each direction for the moves from this class on, per unit of size.
    """

    moves: TwoMoves
    starts: Integers
    cheapest: Floats
    slopes: Floats


def gather_two_core(corner: TwoCorner, moves: TwoMoves, gap: float) -> TwoCore:
    """The moves that cost less than ``gap``, sorted for the search, and the slopes that bound it."""
    kept = moves.pick(moves.cost < gap)
    units = np.maximum(np.abs(kept.sizes).mean(axis=1), 1.0) if kept.count else np.ones(2)
    steps = kept.sizes / units[:, None]
    rate = kept.cost / np.hypot(*steps)
    by_class = np.lexsort((rate, kept.klass))
    begins = np.flatnonzero(np.diff(kept.klass[by_class], prepend=-1))
    run_order = np.argsort(rate[by_class][begins], kind="stable")
    lengths = np.diff(begins, append=kept.count)[run_order]
    starts = np.concatenate(([0], np.cumsum(lengths)))
    order = by_class[np.repeat(begins[run_order] - starts[:-1], lengths) + np.arange(kept.count)]
    kept = kept.pick(order)
    slopes = _slopes(corner, kept.cost, steps[:, order], starts, units, gap)
    return TwoCore(kept, starts, _least_from(kept.cost[:, None], starts)[:, 0], slopes)


def _least_from(values: Floats, starts: Integers) -> Floats:
    """The least value of each run and of all runs after it, by column; ``inf`` after the last."""
    padded = np.concatenate((values, np.full((1, values.shape[1]), np.inf)))
    least: Floats = np.minimum.accumulate(padded[::-1])[::-1][starts]
    return least


def _slopes(corner: TwoCorner, cost: Floats, steps: Floats, starts: Integers, units: Floats, gap: float) -> Floats:
    angles = np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS)
    directions = np.round(np.stack((np.cos(angles), np.sin(angles))), 15)  # [2, D]; the axes exact
    charge = -np.array(corner.multipliers) * units
    if charge.any():
        directions = np.concatenate((directions, (charge / np.hypot(*charge))[:, None]), axis=1)
    along = steps.T @ directions
    rates = np.where(along < 0, cost[:, None], np.inf) / np.where(along < 0, -along, 1.0)
    least = _least_from(rates, starts)
    for multiplier, unit, part in zip(corner.multipliers, units, directions, strict=True):
        least = np.minimum(least, np.where(part < 0, multiplier * unit / np.where(part < 0, -part, 1.0), np.inf))
    axis = (directions == 0).any(axis=0)
    least = np.minimum(least, np.where(axis, gap * units.max(), STEEPEST * gap))
    slopes: Floats = least[:, :, None] * (directions.T / units)
    return slopes


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
    slacks, prices = np.array(corner.slacks)[:, None], np.array(corner.multipliers)
    states = _States(np.zeros((2, 1), dtype=np.int64), np.zeros(1), np.zeros(1, dtype=np.int64), 1, 0)
    steps: list[_States] = []
    chosen: TwoMoves | None = None
    kept, cut, compared_from = 0, False, COMPARED_FROM
    if (slacks >= 0).all() and corner.gap < gap:
        gap, chosen = corner.gap, core.moves.pick(np.empty(0, dtype=np.int64))
    for j in range(core.starts.shape[0] - 1):
        if core.cheapest[j] >= gap or states.cost.shape[0] == 0:
            break
        if (max_states is not None and kept > max_states) or deadline.passed():
            return TwoFound(gap, chosen, finished=False, states=kept)
        states = _extended(states, core.moves, slice(int(core.starts[j]), int(core.starts[j + 1])))
        bounds = _bounds(states, slacks, core.slopes[j + 1])
        states = states.pick(np.flatnonzero(bounds < gap))
        if states.cost.shape[0] >= compared_from:
            before, states = states.cost.shape[0], states.pick(_undominated(states, prices))
            after = states.cost.shape[0]
            compared_from = max(COMPARED_FROM, after if RARE * (before - after) > before else WAIT * after)
        if width is not None and states.cost.shape[0] > width:
            bounds, cut = _bounds(states, slacks, core.slopes[j + 1]), True
            states = states.pick(np.argpartition(bounds, width)[:width])
        steps.append(states)
        kept += states.cost.shape[0]
        gaps = _gaps(states, slacks, prices)
        if gaps.size and float(gaps.min()) < gap:
            gap, chosen = float(gaps.min()), core.moves.pick(_trace(steps, int(gaps.argmin())))
    return TwoFound(gap, chosen, finished=not cut, states=kept)


def _extended(states: _States, moves: TwoMoves, run: slice) -> _States:
    """All states, and all of them with each move of one class more."""
    first, second = (
        np.concatenate((old, (old + new[run, None]).ravel())) for old, new in zip(states.sizes, moves.sizes, strict=True)
    )
    cost = np.concatenate((states.cost, (states.cost + moves.cost[run, None]).ravel()))
    return _States(np.stack((first, second)), cost, np.arange(cost.shape[0]), states.cost.shape[0], run.start)


def _bounds(states: _States, slacks: Integers, slopes: Floats) -> Floats:
    """Least gap that a choice from each state can have."""
    over = (states.sizes - slacks).astype(np.float64)
    bound: Floats = np.maximum((slopes @ over).max(axis=0), 0.0)
    return bound + states.cost


def _gaps(states: _States, slacks: Integers, prices: Floats) -> Floats:
    """The gap of each state as it stands; ``inf`` where it is over a budget."""
    left = slacks - states.sizes
    gaps: Floats = np.where((left >= 0).all(axis=0), states.cost + prices @ left.astype(np.float64), np.inf)
    return gaps


def _undominated(states: _States, prices: Floats) -> Integers:
    """The states that no other state beats, by their first size."""
    loss = states.cost - prices @ states.sizes
    order = np.lexsort((loss, states.sizes[1], states.sizes[0]))
    return order[~_beaten(states.sizes[1][order], loss[order])]


def _beaten(size: Integers, loss: Floats) -> NDArray[np.bool_]:
    """Of points in a row, those that follow one whose size and loss are no greater.

    Divide and conquer: the row is halved again and again. In every pair of halves the points of the right one, in the order
    of their sizes, are compared with the least loss so far of the left one; within the leaves every pair is compared.
    """
    count = loss.shape[0]
    width = total = max(1 << (count - 1).bit_length(), LEAF)
    place = np.arange(total)
    place[:count] = size.argsort(kind="stable")
    value = np.full(total, np.inf)
    value[:count] = loss
    beaten = _beaten_in_leaves(place, value)
    value = value[place]
    while width > LEAF:
        half = width // 2
        right = (place & half) != 0
        lowest = np.minimum.accumulate(np.where(right, np.inf, value).reshape(-1, width), axis=1).ravel()
        beaten[place[right & (lowest <= value)]] = True
        place, value = _halved(place, right, half), _halved(value, right, half)
        width = half
    return beaten[:count]


def _beaten_in_leaves(place: Integers, value: Floats) -> NDArray[np.bool_]:
    ranks = np.empty(place.shape[0], dtype=np.int64)
    ranks[place] = np.arange(place.shape[0])
    rank, value = ranks.reshape(-1, LEAF), value.reshape(-1, LEAF)
    beats = rank[:, :, None] < rank[:, None, :]
    beats &= value[:, :, None] <= value[:, None, :]
    beats &= np.triu(np.ones((LEAF, LEAF), dtype=bool), 1)
    beaten: NDArray[np.bool_] = beats.any(axis=1).ravel()
    return beaten


def _halved(values: NDArray[T], right: NDArray[np.bool_], half: int) -> NDArray[T]:
    """In every run of ``2·half`` the entries of the left half first, either half in its old order."""
    parted = np.empty((values.shape[0] // (2 * half), 2, half), dtype=values.dtype)
    parted[:, 0] = values[~right].reshape(-1, half)
    parted[:, 1] = values[right].reshape(-1, half)
    return parted.ravel()


def _trace(steps: list[_States], state: int) -> Integers:
    """The moves behind a state, from its last class back to the first."""
    chosen = []
    for step in reversed(steps):
        move, state = divmod(int(step.origin[state]), step.parents)
        if move:
            chosen.append(step.start + move - 1)
    return np.array(chosen, dtype=np.int64)
