"""The Lagrangian dual of two budgets: the pair of multipliers where the LP relaxation breaks, by cutting planes.

The dual function ``φ(λ, μ) = Σ_i min_k(loss + λ·first + μ·second) − λ·room₁ − μ·room₂`` is concave and piecewise linear. Every
pair of multipliers gives one choice, and that choice a plane above φ (Kelley 1960). The highest point under the planes known
so far is a linear program with three rows: the best mixture of choices that keeps both budgets (Dantzig and Wolfe 1960),
solved here by the simplex method on matrices of three by three. Classes on which all choices of the optimal mixture agree
are put aside, and looked at again before the end.
"""

from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.mckp.excess import BLOCK, Excess

PASSES = 400  # far above the 10 to 40 that are needed
PIVOTS = 200
NARROWED_FROM = 1_024  # fewer classes than this are looked at in every pass
RECENT = 2  # cuts outside the mixture that must agree with it too
ROUNDING = 4e-16  # of the terms of a sum: what is smaller than this is no progress
CLOSED = 1e-14  # of the same: the height that is left to gain
UNREACHED = 1e-13  # of the rooms: a mixture that falls short by less keeps them
PIVOT = 1e-12

Pair = tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class TwoDual:
    """Where the LP relaxation breaks.

    Attributes:
        multipliers: (λ, μ), not negative, excess loss per unit of excess size of either row.
        choice: int64 ``[N]``, a minimiser of ``loss + λ·first + μ·second`` in every class; it need not keep the budgets.
        reachable: some mixture of choices keeps both budgets. Otherwise no choice does, up to rounding, and the multipliers are
            zero.
    """

    multipliers: Pair
    choice: Integers
    reachable: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
    """A choice of the classes looked at: its excess loss, and how far its size is over the room of either row."""

    choice: Integers
    loss: float
    over: Pair


class _Master:
    """The cheapest mixture of cuts: ``min Σ θ·loss`` with ``Σ θ = 1``, ``Σ θ·over ≤ 0`` and ``θ ≥ 0``, by the simplex method.

    Columns 0 and 1 are the slacks of the rows, 2 and 3 their shortfalls, the cuts follow.
    """

    def __init__(self, cut: _Cut, units: Pair) -> None:
        self.units = units
        self.cuts = [cut]
        self.basis = [4, *(row if over <= 0 else 2 + row for row, over in enumerate(cut.over))]

    def optimise(self, *, shortfall: bool) -> tuple[float, Pair, float]:
        """Pivot to the least loss, or to the least shortfall.

        Returns:
            The value, the multipliers of both rows, and the price of a mixture: what a new cut has to stay under.
        """
        fixed = [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]]
        cuts = [[1.0, cut.over[0] / self.units[0], cut.over[1] / self.units[1]] for cut in self.cuts]
        columns = np.array(fixed + cuts).T
        cost = np.array([0.0, 0.0, float(shortfall), float(shortfall)] + [0.0 if shortfall else cut.loss for cut in self.cuts])
        inverse = np.linalg.inv(columns[:, self.basis])
        for _ in range(PIVOTS):
            prices, weights = cost[self.basis] @ inverse, np.maximum(inverse[:, 0], 0.0)
            reduced = cost - prices @ columns
            reduced[[2, 3, *self.basis]] = np.inf
            entering = int(reduced.argmin())
            direction = inverse @ columns[:, entering]
            noise = ROUNDING * float(np.abs(prices) @ np.abs(columns[:, entering]) + cost[entering])
            if reduced[entering] >= -noise or float(direction.max()) <= PIVOT:
                break
            ratio = np.where(direction > PIVOT, weights / np.where(direction > PIVOT, direction, 1.0), np.inf)
            basis = self.basis.copy()
            basis[int(ratio.argmin())] = entering
            try:
                inverse = np.linalg.inv(columns[:, basis])
            except np.linalg.LinAlgError:  # rounding alone made the column look useful
                break
            self.basis = basis
        value = float(cost[self.basis] @ weights)
        multipliers = (max(-float(prices[1]), 0.0) / self.units[0], max(-float(prices[2]), 0.0) / self.units[1])
        return value, multipliers, float(prices[0])

    def drop_shortfalls(self) -> None:
        """A shortfall that is left in the basis is zero: the slack of its row takes its place."""
        self.basis = [column - 2 if column in (2, 3) else column for column in self.basis]

    def basic(self) -> list[_Cut]:
        """The cuts of the present mixture."""
        return [self.cuts[column - 4] for column in self.basis if column >= 4]

    def replace_basic(self, cuts: list[_Cut]) -> None:
        """The same mixture in other words, and no cut beside it."""
        order = iter(range(4, 4 + len(cuts)))
        self.basis = [column if column < 4 else next(order) for column in self.basis]
        self.cuts = cuts


class _Search:
    """The master and the classes that it looks at; the others keep the item on which the mixture agrees."""

    def __init__(self, first: Excess, second: Excess) -> None:
        self.loss, self.sizes, self.left = first.loss, (first.size, second.size), (float(first.capacity), float(second.capacity))
        self.whole = (self.loss, self.sizes, self.left)
        self.fixed = np.zeros(first.classes, dtype=np.int64)
        self.restless = np.zeros(first.classes, dtype=bool)
        self.open: Integers | None = None
        cut = self.cheapest((0.0, 0.0))
        units = (max(abs(cut.over[0]), self.left[0], 1.0), max(abs(cut.over[1]), self.left[1], 1.0))
        self.master = _Master(cut, units)

    def cheapest(self, multipliers: Pair, *, with_loss: bool = True) -> _Cut:
        """The minimiser of ``loss + λ·first + μ·second`` in every class looked at."""
        choice = np.empty(self.loss.shape[1], dtype=np.int64)
        for start in range(0, choice.shape[0], BLOCK):
            block = slice(start, start + BLOCK)
            value = self.sizes[0][:, block] * multipliers[0]
            value += self.sizes[1][:, block] * multipliers[1]
            value += self.loss[:, block] if with_loss else np.where(np.isinf(self.loss[:, block]), np.inf, 0.0)
            choice[block] = (value == value.min(axis=0)).argmax(axis=0)
        return self._cut(choice)

    def _cut(self, choice: Integers) -> _Cut:
        rows = np.arange(choice.shape[0])
        first, second = (float(size[choice, rows].sum()) - left for size, left in zip(self.sizes, self.left, strict=True))
        return _Cut(choice, float(self.loss[choice, rows].sum()), (first, second))

    def look(self, multipliers: Pair, *, with_loss: bool = True) -> _Cut:
        """Add the cut of these multipliers."""
        cut = self.cheapest(multipliers, with_loss=with_loss)
        self.master.cuts.append(cut)
        return cut

    def reach(self) -> bool:
        """Find a mixture that keeps both rows; False when there is none."""
        for _ in range(PASSES):
            value, multipliers, price = self.master.optimise(shortfall=True)
            if value <= UNREACHED:
                self.master.drop_shortfalls()
                return True
            cut = self.look(multipliers, with_loss=False)
            if price - cut.over[0] * multipliers[0] - cut.over[1] * multipliers[1] <= UNREACHED * value:
                break
        return False

    def run(self) -> Pair:
        """Cut until the highest point under the cuts lies on the dual function of the classes looked at."""
        for _ in range(PASSES):
            _, multipliers, price = self.master.optimise(shortfall=False)
            self._narrow()
            cut = self.look(multipliers)
            height = cut.loss + multipliers[0] * cut.over[0] + multipliers[1] * cut.over[1]
            if price - height <= CLOSED * self._scale(cut, multipliers):
                break
        return multipliers

    def _scale(self, cut: _Cut, multipliers: Pair) -> float:
        """What a height is the difference of."""
        weighted = (price * (abs(over) + abs(left)) for price, over, left in zip(multipliers, cut.over, self.left, strict=True))
        return cut.loss + sum(weighted)

    def _narrow(self) -> None:
        """Put aside the classes on which the mixture agrees, when that shortens the passes."""
        cuts = self.master.basic()
        if self.loss.shape[1] < NARROWED_FROM or len(cuts) < 2:
            return
        differ = self.restless.copy() if self.open is None else self.restless[self.open]
        for cut in cuts[1:] + self.master.cuts[-RECENT:]:
            differ |= cut.choice != cuts[0].choice
        if 2 * np.count_nonzero(differ) > differ.shape[0]:
            return
        keep = np.flatnonzero(differ)
        everything = [self._whole_choice(cut.choice) for cut in cuts]
        self.fixed, put_aside = everything[0].copy(), np.ones(self.fixed.shape[0], dtype=bool)
        self.open = keep if self.open is None else self.open[keep]
        put_aside[self.open] = False
        aside = np.flatnonzero(put_aside)
        loss, sizes, room = self.whole
        taken = [float(size[self.fixed[aside], aside].sum()) for size in sizes]
        self.loss, self.sizes = loss[:, self.open], (sizes[0][:, self.open], sizes[1][:, self.open])
        self.left = (room[0] - taken[0], room[1] - taken[1])
        self.master.replace_basic([self._cut(choice[self.open]) for choice in everything])

    def _whole_choice(self, choice: Integers) -> Integers:
        if self.open is None:
            return choice
        whole = self.fixed.copy()
        whole[self.open] = choice
        return whole

    def reopen(self, multipliers: Pair) -> tuple[Integers, bool]:
        """Look at all classes once more.

        Returns:
            The minimisers at the multipliers, and whether no class that was put aside has changed its mind.
        """
        if self.open is None:
            return self.master.cuts[-1].choice, True
        mixture, aside, fixed = [self._whole_choice(cut.choice) for cut in self.master.basic()], self.open, self.fixed
        self.open, (self.loss, self.sizes, self.left) = None, self.whole
        self.master.replace_basic([self._cut(choice) for choice in mixture])
        cut = self.look(multipliers)
        differ = cut.choice != fixed
        differ[aside] = False
        self.restless |= differ
        changed = np.flatnonzero(differ)
        now, then = (self._priced(choice[changed], changed, multipliers) for choice in (cut.choice, fixed))
        return cut.choice, float((then - now).sum()) <= CLOSED * self._scale(cut, multipliers)

    def _priced(self, choice: Integers, classes: Integers, multipliers: Pair) -> Floats:
        value: Floats = self.loss[choice, classes] + multipliers[0] * self.sizes[0][choice, classes]
        return value + multipliers[1] * self.sizes[1][choice, classes]


def solve_two_dual(first: Excess, second: Excess) -> TwoDual:
    """Maximise the dual function of two budgets.

    Args:
        first: the problem and its first budget.
        second: the same losses and the second budget.
    """
    search = _Search(first, second)
    if not search.reach():
        return TwoDual((0.0, 0.0), search.cheapest((0.0, 0.0)).choice, reachable=False)
    complete = False
    while not complete:
        multipliers = search.run()
        choice, complete = search.reopen(multipliers)
    return TwoDual(multipliers, choice, reachable=True)
