"""Moves away from the LP choice of two budgets; the counterpart of ``moves`` for a pair of multipliers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.mckp.excess import BLOCK, Excess

SAMPLED_FROM = 1 << 18  # cells up to which all are looked at

Rows = tuple[Excess, Excess]


@dataclass(frozen=True, slots=True, eq=False)
class TwoCorner:
    """The LP choice and where it stands. It need not keep the budgets.

    Attributes:
        choice: int64 ``[N]``, the item of least ``loss + λ·first + μ·second`` of every class.
        multipliers: (λ, μ), excess loss per unit of size.
        slacks: what the choice leaves of either budget, exact; negative where it is over.
    """

    choice: Integers
    multipliers: tuple[float, float]
    slacks: tuple[int, int]

    @property
    def gap(self) -> float:
        """Excess loss over the bound; the reduced costs of the choice are zero."""
        return self.charge(*self.slacks)

    def charge(self, first: int, second: int) -> float:
        """What the multipliers charge for so much unused budget: λ·first + μ·second."""
        return self.multipliers[0] * first + self.multipliers[1] * second

    def apply(self, moves: "TwoMoves") -> Integers:
        """The choice after the moves; a copy."""
        choice = self.choice.copy()
        choice[moves.klass] = moves.item
        return choice


@dataclass(frozen=True, slots=True, eq=False)
class TwoMoves:
    """Items other than the chosen ones; ``M`` of them.

    Attributes:
        klass: int64 ``[M]``, class of the move.
        item: int64 ``[M]``, the item that it takes instead.
        cost: float64 ``[M]``, reduced cost of that item, ≥ 0.
        sizes: int64 ``[2, M]``, exact changes of both sizes.
    """

    klass: Integers
    item: Integers
    cost: Floats
    sizes: Integers

    def pick(self, which: NDArray[np.bool_] | Integers) -> "TwoMoves":
        """Some of the moves, in the order given."""
        return TwoMoves(self.klass[which], self.item[which], self.cost[which], self.sizes[:, which])

    @property
    def count(self) -> int:
        """M, the number of moves."""
        return int(self.klass.shape[0])


def two_corner_at(rows: Rows, choice: Integers, multipliers: tuple[float, float]) -> TwoCorner:
    """Where a choice of minimisers stands, in exact integers."""
    classes = np.arange(choice.shape[0])
    first, second = (row.capacity - int((row.whole[classes, choice] - row.smallest).sum()) for row in rows)
    return TwoCorner(choice, multipliers, (first, second))


def two_gap_of(rows: Rows, corner: TwoCorner, choice: Integers) -> float:
    """Excess loss over the bound of another choice: its reduced costs and what is charged for its slacks."""
    moved = np.flatnonzero(choice != corner.choice)
    cost = _reduced(rows, corner, moved)[choice[moved], np.arange(moved.shape[0])]
    return float(cost.sum()) + corner.charge(*two_corner_at(rows, choice, corner.multipliers).slacks)


def _reduced(rows: Rows, corner: TwoCorner, classes: slice | Integers) -> Floats:
    """Reduced costs ``[K, n]``; ``inf`` at the chosen items."""
    value = rows[0].size[:, classes] * corner.multipliers[0]
    value += rows[1].size[:, classes] * corner.multipliers[1]
    value += rows[0].loss[:, classes]
    value -= value.min(axis=0)
    chosen = corner.choice[classes]
    value[chosen, np.arange(chosen.shape[0])] = np.inf
    return value


def two_moves_within(rows: Rows, corner: TwoCorner, limit: float) -> TwoMoves:
    """All moves of reduced cost below ``limit`` that change something; one pass over the problem."""
    classes, items, costs = [], [], []
    for start in range(0, rows[0].classes, BLOCK):
        cost = _reduced(rows, corner, slice(start, start + BLOCK))
        item, row = np.nonzero(cost < limit)
        classes.append(row + start)
        items.append(item)
        costs.append(cost[item, row])
    klass, item = np.concatenate(classes), np.concatenate(items)
    sizes = np.stack([row.whole[klass, item] - row.whole[klass, corner.choice[klass]] for row in rows])
    moves = TwoMoves(klass, item, np.concatenate(costs), sizes)
    return moves.pick(np.flatnonzero(sizes.any(axis=0)))


def limit_of_rank(rows: Rows, corner: TwoCorner, rank: int) -> float:
    """A reduced cost that about ``rank`` moves stay below, ``inf`` when there are fewer; from a sample where there are many."""
    stride = max(rows[0].loss.size // SAMPLED_FROM, 1)
    cost = _reduced(rows, corner, np.arange(0, rows[0].classes, stride)).ravel()
    place = rank // stride
    return float(np.partition(cost, place)[place]) if place < cost.shape[0] else float(np.inf)
