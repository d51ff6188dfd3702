"""The Lagrangian dual of one budget: the multiplier where the LP relaxation breaks, by Kelley's method in one dimension.

The dual function ``φ(λ) = Σ_i min_k(loss + λ·size) − λ·capacity`` is concave and piecewise linear. Between two multipliers
at which a class chooses the same item it chooses that item throughout, so the search looks only at the classes that still
differ: after the first passes these are few. Each pass intersects the tangents of both sides of the maximum (Kelley 1960); a
strided sample of the classes gives a large problem its first two multipliers.
"""

from dataclasses import dataclass, replace

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.mckp.excess import BLOCK, Excess

SAMPLE = 4_096
SAMPLED_FROM = 8 * SAMPLE  # fewer classes than this need no sample
PASSES = 200  # far above the 10 to 25 that Kelley needs


@dataclass(frozen=True, slots=True, eq=False)
class Dual:
    """Where the LP relaxation breaks.

    Attributes:
        multiplier: λ ≥ 0, excess loss per unit of excess size.
        choice: int64 ``[N]``, a minimiser of ``loss + λ·size`` in every class that keeps the capacity.
    """

    multiplier: float
    choice: Integers


@dataclass(slots=True, eq=False)
class _Side:
    """One tangent of the dual function, over the classes still looked at."""

    multiplier: float
    choice: Integers
    loss: Floats
    size: Floats

    def narrow(self, keep: Integers) -> None:
        self.choice, self.loss, self.size = self.choice[keep], self.loss[keep], self.size[keep]


def solve_dual(excess: Excess, capacity: float | None = None) -> Dual:
    """Maximise the dual function; a capacity that binds nothing gives λ = 0 and the least losses.

    Args:
        excess: the problem.
        capacity: instead of ``excess.capacity``, for a part of the classes.
    """
    room = float(excess.capacity) if capacity is None else capacity
    low, high = least_loss(excess), _least_size(excess)
    if float(low.size.sum()) <= room:
        return Dual(0.0, low.choice)
    search = _Search(excess.loss, excess.size, room, low, high)
    if excess.classes >= SAMPLED_FROM:
        for guess in _guesses(excess, room / float(low.size.sum())):
            search.look(guess)
    search.run()
    return Dual(search.high.multiplier, search.choice)


def _guesses(excess: Excess, share: float) -> list[float]:
    """Multipliers on both sides of a sample's, close enough to fix most classes."""
    picked = np.arange(0, excess.classes, excess.classes // SAMPLE)
    loss, size = excess.loss[:, picked], excess.size[:, picked]
    part = replace(excess, loss=loss, size=size, whole=excess.whole[picked], smallest=excess.smallest[picked])
    near = solve_dual(part, share * float(least_loss(part).size.sum())).multiplier
    return [near, near * 1.05, near / 1.05]


class _Search:
    """The bracket of Kelley's method: ``low`` is over the capacity, ``high`` keeps it."""

    def __init__(self, loss: Floats, size: Floats, room: float, low: _Side, high: _Side) -> None:
        self.loss, self.size, self.room = loss, size, room
        self.low, self.high = low, high
        self.choice = high.choice.copy()
        self.open = np.arange(loss.shape[1])
        self._narrow()

    def look(self, multiplier: float) -> bool:
        """Take a multiplier strictly inside the bracket as one of its ends; False when it adds nothing."""
        if not self.low.multiplier < multiplier < self.high.multiplier:
            return False
        side = _cheapest(self.loss, self.size, multiplier)
        if float(side.size.sum()) <= self.room:
            self.high = side
        else:
            self.low = side
        self._narrow()
        return True

    def run(self) -> None:
        """Intersect the two tangents until the intersection lies on the dual function."""
        multiplier = self.low.multiplier
        for _ in range(PASSES):
            rise = float((self.high.loss - self.low.loss).sum())
            fall = float((self.low.size - self.high.size).sum())
            multiplier = max(rise, 0.0) / fall if fall > 0 else self.low.multiplier
            side = _cheapest(self.loss, self.size, multiplier)
            height = _height(side, multiplier)
            reached = height >= _height(self.high, multiplier) * (1 - 1e-15)
            fits = float(side.size.sum()) <= self.room
            if reached or fall <= 0:
                break
            self.high, self.low = (side, self.low) if fits else (self.high, side)
            self._narrow()
        self.high.multiplier = multiplier
        self.choice[self.open] = self.high.choice

    def _narrow(self) -> None:
        """Put aside the classes that both ends decide alike, when that shortens the passes."""
        differ = self.low.choice != self.high.choice
        if 4 * np.count_nonzero(differ) > 3 * differ.shape[0]:
            return
        self.choice[self.open] = self.high.choice
        self.room -= float(self.high.size[~differ].sum())
        keep = np.flatnonzero(differ)
        self.open, self.loss, self.size = self.open[keep], self.loss[:, keep], self.size[:, keep]
        self.low.narrow(keep)
        self.high.narrow(keep)


def _height(side: _Side, multiplier: float) -> float:
    return float((side.loss + multiplier * side.size).sum())


def _take(values: Floats, choice: Integers) -> Floats:
    taken: Floats = values[choice, np.arange(choice.shape[0])]
    return taken


def _side(loss: Floats, size: Floats, multiplier: float, choice: Integers) -> _Side:
    return _Side(multiplier, choice, _take(loss, choice), _take(size, choice))


def _cheapest(loss: Floats, size: Floats, multiplier: float) -> _Side:
    """The minimiser of ``loss + λ·size`` in every class."""
    choice = np.empty(loss.shape[1], dtype=np.int64)
    for start in range(0, loss.shape[1], BLOCK):
        block = slice(start, start + BLOCK)
        value = size[:, block] * multiplier
        value += loss[:, block]
        choice[block] = (value == value.min(axis=0)).argmax(axis=0)
    return _side(loss, size, multiplier, choice)


def least_loss(excess: Excess) -> _Side:
    """λ = 0: the smallest of the items without excess loss."""
    choice = np.empty(excess.classes, dtype=np.int64)
    for start in range(0, excess.classes, BLOCK):
        block = slice(start, start + BLOCK)
        choice[block] = np.where(excess.loss[:, block] == 0, excess.size[:, block], np.inf).argmin(axis=0)
    return _side(excess.loss, excess.size, 0.0, choice)


def _least_size(excess: Excess) -> _Side:
    """λ = ∞: the least loss among the smallest items."""
    choice = np.empty(excess.classes, dtype=np.int64)
    for start in range(0, excess.classes, BLOCK):
        block = slice(start, start + BLOCK)
        choice[block] = np.where(excess.size[:, block] == 0, excess.loss[:, block], np.inf).argmin(axis=0)
    return _side(excess.loss, excess.size, np.inf, choice)
