"""Moves away from the LP choice: what each costs over the bound and how much of the budget it takes.

The gap of a choice is ``Σ reduced costs + λ·(capacity − size)``: a move is worth its size change times λ, less its reduced
cost. Only moves whose reduced cost is below the gap of the incumbent can be part of a better choice (reduced-cost fixing),
and among these a good incumbent is found by filling ties and by the best pair.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.mckp.excess import BLOCK, Excess

POOL = 4_096  # moves that the first pass over a large problem is made to return
ROUNDS = 12  # best pairs, each from where the one before has led
PAIRED = 8_192  # cheapest moves among which the best pair is looked for
TIE = 1e-14  # reduced costs below this share of the largest value are ties


@dataclass(slots=True, eq=False)
class Corner:
    """A choice at the LP optimum and where it stands.

    Attributes:
        choice: int64 ``[N]``, the item of every class.
        multiplier: λ, excess loss per unit of size.
        cost: Σ reduced costs of the choice, 0 up to rounding.
        slack: capacity that the choice leaves, exact.
        reduced: float64 ``[K, N]``, the reduced costs of all items, where the problem is small enough to keep them.
    """

    choice: Integers
    multiplier: float
    cost: float
    slack: int
    reduced: Floats | None = None

    @property
    def gap(self) -> float:
        """Excess loss over the bound: reduced costs + λ·slack."""
        return self.cost + self.multiplier * self.slack


@dataclass(frozen=True, slots=True, eq=False)
class Moves:
    """Items other than the chosen ones; all arrays of shape ``[M]``.

    Attributes:
        klass: class of the move.
        item: the item that it takes instead.
        cost: reduced cost of that item, less that of the chosen one.
        size: exact change of size.
    """

    klass: Integers
    item: Integers
    cost: Floats
    size: Integers

    def pick(self, which: NDArray[np.bool_] | Integers | slice) -> "Moves":
        """Some of the moves, in the order given."""
        return Moves(self.klass[which], self.item[which], self.cost[which], self.size[which])

    @property
    def count(self) -> int:
        """M, the number of moves."""
        return int(self.klass.shape[0])


def _reduced(excess: Excess, multiplier: float, block: slice | Integers) -> Floats:
    value = excess.size[:, block] * multiplier
    value += excess.loss[:, block]
    value -= value.min(axis=0)
    return value


def corner_at(excess: Excess, choice: Integers, multiplier: float) -> Corner:
    """Where a choice stands: its reduced costs, and its slack in exact integers."""
    rows, cost = np.arange(excess.classes), 0.0
    reduced: Floats | None = None
    for start in range(0, excess.classes, BLOCK):
        block = slice(start, start + BLOCK)
        reduced = _reduced(excess, multiplier, block)
        cost += float(reduced[choice[block], rows[: choice[block].shape[0]]].sum())
    taken = int((excess.whole[rows, choice] - excess.smallest).sum())
    return Corner(choice, multiplier, cost, excess.capacity - taken, reduced if excess.classes <= BLOCK else None)


def moves_within(excess: Excess, corner: Corner, limit: float) -> Moves:
    """All moves of reduced cost ≤ ``limit``; one pass over the problem."""
    classes, items, costs = [], [], []
    for start in range(0, excess.classes, BLOCK):
        block = slice(start, start + BLOCK)
        known, chosen = corner.reduced, corner.choice[block]
        cost = _reduced(excess, corner.multiplier, block) if known is None else known.copy()
        rows = np.arange(chosen.shape[0])
        own = cost[chosen, rows]
        cost[chosen, rows] = np.inf
        item, row = np.nonzero(cost <= limit)
        classes.append(row + start)
        items.append(item)
        costs.append(cost[item, row] - own[row])
    klass, item = np.concatenate(classes), np.concatenate(items)
    return Moves(klass, item, np.concatenate(costs), _size_change(excess, corner, klass, item))


def _size_change(excess: Excess, corner: Corner, klass: Integers, item: Integers) -> Integers:
    change: Integers = excess.whole[klass, item] - excess.whole[klass, corner.choice[klass]]
    return change


def first_limit(excess: Excess, corner: Corner) -> float:
    """A reduced cost that about ``POOL`` moves stay below, from a strided sample; the gap itself for a small problem."""
    cells = excess.loss.size
    if cells <= 8 * POOL:
        return corner.gap
    picked = np.arange(0, excess.classes, max(excess.classes // POOL, 1))
    cost = _reduced(excess, corner.multiplier, picked)
    cost[corner.choice[picked], np.arange(picked.shape[0])] = np.inf
    rank = min(cost.size - 1, cost.size * POOL // cells + 1)
    return min(corner.gap, float(np.partition(cost, rank, axis=None)[rank]))


def fill_ties(excess: Excess, corner: Corner, moves: Moves) -> Moves:
    """Take moves that cost nothing and fit, the largest first, into the corner itself (changed in place).

    Without this a multiplier at which many items tie leaves the corner far below the budget and every gap wide.

    Returns:
        The moves as seen from the new corner.
    """
    ties = np.flatnonzero((moves.cost <= TIE * (moves.cost.max(initial=0.0) + corner.gap)) & (moves.size > 0))
    if ties.size == 0:
        return moves
    ties = ties[np.argsort(-moves.size[ties], kind="stable")]
    taken, slack = [np.empty(0, dtype=np.int64)], corner.slack
    while (ties := ties[moves.size[ties] <= slack]).size:
        first = ties[np.sort(np.unique(moves.klass[ties], return_index=True)[1])]
        total = np.cumsum(moves.size[first])
        fitting = first[: int(np.searchsorted(total, slack, side="right"))]
        slack -= int(total[fitting.shape[0] - 1])
        taken.append(fitting)
        ties = ties[~np.isin(moves.klass[ties], moves.klass[fitting])]
    return rebase(excess, corner, moves, np.concatenate(taken))


def rebase(excess: Excess, corner: Corner, moves: Moves, taken: Integers) -> Moves:
    """Make some moves, at most one a class, part of the corner; the items that they replace become moves."""
    if taken.size == 0:
        return moves
    klass, item, own = moves.klass[taken], moves.item.copy(), moves.cost[taken]
    shift = np.zeros(corner.choice.shape[0])
    shift[klass] = own
    cost = moves.cost - shift[moves.klass]
    cost[taken] = -own
    item[taken] = corner.choice[klass]
    corner.slack -= int(moves.size[taken].sum())
    corner.cost += float(own.sum())
    corner.choice[klass] = moves.item[taken]
    return Moves(moves.klass, item, cost, _size_change(excess, corner, moves.klass, item))


def improve_by_pairs(excess: Excess, corner: Corner, moves: Moves) -> tuple[float, Moves]:
    """The gap after the best pair of moves, the best pair from there, and so on while it falls; and all moves that make it.

    Args:
        excess: the problem.
        corner: where it starts; not changed.
        moves: seen from the corner.
    """
    here, seen = Corner(corner.choice.copy(), corner.multiplier, corner.cost, corner.slack), moves
    for _ in range(ROUNDS):
        gap, taken = best_pair(here, seen)
        if taken.size == 0 or not gap < here.gap:
            break
        seen = rebase(excess, here, seen, taken)
    if seen is moves:
        return here.gap, moves.pick(slice(0))
    return here.gap, moves.pick(here.choice[moves.klass] == moves.item)


def best_pair(corner: Corner, moves: Moves) -> tuple[float, Integers]:
    """The gap after the best one or two moves of different classes that fit, and their positions (none, one or two).

    For every move its partner is the most valuable of the moves that still fit beside it (prefix maxima over the sizes), so
    the whole search is one sort. A partner of the same class is passed over: this is a heuristic for the incumbent, not the
    proof.
    """
    if moves.count <= PAIRED:
        order = moves.size.argsort(kind="stable")
    else:
        near = np.sort(np.argpartition(moves.cost, PAIRED)[:PAIRED])
        order = near[moves.size[near].argsort(kind="stable")]
    size = moves.size[order]
    value = corner.multiplier * size - moves.cost[order]
    best, chosen = 0.0, order[:0]
    fitting = int(size.searchsorted(corner.slack, side="right"))
    if fitting and (alone := float(value[first := int(value[:fitting].argmax())])) > 0:
        best, chosen = alone, order[[first]]
    if order.size > 1:
        pair_gain, pair = _pair(moves.klass[order], size, value, corner.slack)
        if pair_gain > best:
            best, chosen = pair_gain, order[pair]
    return corner.gap - best, chosen


def _pair(klass: Integers, size: Integers, value: Floats, slack: int) -> tuple[float, list[int]]:
    """Largest sum of the values of two moves, sorted by size, that fit together; and their positions."""
    top = np.maximum.accumulate(value)
    at = np.maximum.accumulate(np.where(value >= top, np.arange(value.shape[0]), 0))
    last = size.searchsorted(slack - size, side="right") - 1
    partner = at[last]
    sums = value + value[partner]
    sums[(last < 0) | (klass[partner] == klass)] = -np.inf
    best = int(sums.argmax())
    return float(sums[best]), [best, int(partner[best])]
