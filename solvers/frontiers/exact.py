"""The whole exact frontier of a problem whose sizes lie on a coarse lattice, as those of real models do."""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from itertools import count
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solvers.arrays import Floats, Integers
from solvers.errors import SettingError, UnsupportedProblemError
from solvers.frontiers.checks import refuse_more_than_one_row, whole_budgets
from solvers.frontiers.lattice import Row, add_rows, split_cell
from solvers.hulls.steps import SortedItems, sort_items, undominated
from solvers.problem import Problem


@dataclass(frozen=True, slots=True, eq=False)
class ExactFrontier:
    """Every plan that no other betters in size and loss: the optimum of every budget.

    Attributes:
        sizes: int64 ``[P]``, rising; the first is the smallest feasible budget.
        losses: float64 ``[P]``, falling; the optimum of every budget from its size to below the next.
        unit: all sizes are the first and whole multiples of this.
        items: the sorted items of the problem.
        row: the dynamic program's last row; ``None`` when every class has one item.
    """

    sizes: Integers
    losses: Floats
    unit: int
    items: SortedItems
    row: Row | None

    def __post_init__(self) -> None:
        self.sizes.setflags(write=False)
        self.losses.setflags(write=False)

    def loss_at(self, budgets: ArrayLike) -> Floats:
        """The optimum of each budget, float64 ``[B]``; ``inf`` below the smallest feasible one.

        Raises:
            SettingError: budgets that are not a list of whole numbers.
        """
        at = np.searchsorted(self.sizes, whole_budgets(budgets), side="right")
        found: Floats = np.insert(self.losses, 0, np.inf)[at]
        return found

    def choice(self, budget: int) -> Integers:
        """An optimal choice of the smallest size, int64 ``[N]``, by walking the rows back.

        Raises:
            SettingError: the budget is below the smallest feasible one.
        """
        at = int(np.searchsorted(self.sizes, budget, side="right")) - 1
        if at < 0:
            msg = f"budget {budget} is below {self.sizes[0]}, the sum of the smallest allowed items; give that at least"
            raise SettingError(msg)
        classes = self.items.loss.shape[1]
        place = np.zeros(classes, dtype=np.int64)
        todo = [] if self.row is None else [(self.row, int(self.sizes[at] - self.sizes[0]) // self.unit)]
        while todo:
            row, cell = todo.pop()
            if row.parts:
                todo.extend(zip(row.parts, split_cell(row, cell), strict=True))
            else:
                grown = self.items.size[:, row.klass] - self.items.size[0, row.klass]
                place[row.klass] = int((grown == cell * row.unit).argmax())
        return self.items.at(place, np.arange(classes))


def exact_frontier(problem: Problem, *, max_bytes: int = 2**28, max_sums: int = 4_000_000_000) -> ExactFrontier:
    """The exact frontier by dynamic programming in units of the greatest common divisor, without rounding any size.

    Layers of one shape share a coarse unit, so classes of equal unit are added up in rows of their own first, which stay
    short, and the few rows that remain are added up in the common unit, the shortest two first (min-plus convolution).
    Nothing but the rows is kept: a choice is found by asking every row again how it came about.

    Args:
        problem: one row of sizes; its own budget is not read.
        max_bytes: of the rows that are kept.
        max_sums: additions of two losses; a billion takes about a second.

    Raises:
        UnsupportedProblemError: several rows of sizes, side rules or an interaction; or rows past a limit, because the sizes
            have no large common divisor.
        SettingError: a limit below 1.
    """
    for name, limit in (("max_bytes", max_bytes), ("max_sums", max_sums)):
        if limit < 1:
            msg = f"{name} is {limit}; give 1 or more"
            raise SettingError(msg)
    refuse_more_than_one_row(problem)
    items = sort_items(problem)
    kept = undominated(items)
    grown = np.where(kept, items.size - items.size[:1], 0)
    units = np.gcd.reduce(grown, axis=0)
    extents = [_extent(grown[:, i], kept[:, i], int(units[i])) for i in np.flatnonzero(units).tolist()]
    work = _Work(cells=sum(extent.length for extent in extents))
    _combine(extents, work.add)
    _refuse_too_much(work, int(np.gcd.reduce(units)), max_bytes, max_sums)
    least = items.loss.min(axis=0, initial=np.inf)
    excess = items.loss - least
    rows = [_class_row(excess[:, i], grown[:, i], kept[:, i], int(units[i]), i) for i in np.flatnonzero(units).tolist()]
    return _undominated_points(items, _combine(rows, add_rows), float(least.sum()))


def _undominated_points(items: SortedItems, row: Row | None, base: float) -> ExactFrontier:
    floor = int(items.size[0].sum()) if items.size.size else 0
    if row is None:
        return ExactFrontier(np.array([floor]), np.array([base]), 1, items, None)
    losses = row.loss[row.filled]
    better = np.append(True, losses[1:] < np.minimum.accumulate(losses)[:-1])
    return ExactFrontier(floor + row.filled[better] * row.unit, base + losses[better], row.unit, items, row)


class _Sized(Protocol):
    """What has a unit and a length in units."""

    @property
    def unit(self) -> int:
        """Size of one unit."""

    @property
    def length(self) -> int:
        """Cells from nothing to the largest total."""


T = TypeVar("T", bound=_Sized)


def _combine(rows: list[T], add: Callable[[T, T], T]) -> T | None:
    """Add up all rows: those of one unit first, from the shortest on, then always the two shortest."""
    groups: dict[int, list[T]] = {}
    for row in sorted(rows, key=lambda row: row.length):
        groups.setdefault(row.unit, []).append(row)
    ties = count()
    heap = [(row.length, next(ties), row) for row in (reduce(add, group) for group in groups.values())]
    heapq.heapify(heap)
    while len(heap) > 1:
        row = add(heapq.heappop(heap)[2], heapq.heappop(heap)[2])
        heapq.heappush(heap, (row.length, next(ties), row))
    return heap[0][2] if heap else None


@dataclass(frozen=True, slots=True)
class _Extent:
    """A row that is not made yet: its unit, its length and how many cells may be filled."""

    unit: int
    length: int
    filled: int


@dataclass(slots=True)
class _Work:
    """What making the rows takes."""

    cells: int = 0
    sums: int = 0

    def add(self, first: _Extent, second: _Extent) -> _Extent:
        """The extent of the sum of two rows."""
        unit = math.gcd(first.unit, second.unit)
        length = (first.length - 1) * (first.unit // unit) + (second.length - 1) * (second.unit // unit) + 1
        self.cells += length
        self.sums += min(first.filled * second.length, second.filled * first.length)
        return _Extent(unit, length, min(length, first.filled * second.filled))


def _refuse_too_much(work: _Work, unit: int, max_bytes: int, max_sums: int) -> None:
    if 8 * work.cells > max_bytes or work.sums > max_sums:
        msg = (
            f"in units of {unit}, the common divisor of all sizes, the exact frontier takes {8 * work.cells} bytes and "
            f"{work.sums} sums, past max_bytes {max_bytes} or max_sums {max_sums}; "
            "use frontier() for bounds, proved() for the optimum of chosen budgets"
        )
        raise UnsupportedProblemError(msg)


def _extent(grown: Integers, kept: NDArray[np.bool_], unit: int) -> _Extent:
    return _Extent(unit, int(grown.max()) // unit + 1, int(kept.sum()))


def _class_row(excess: Floats, grown: Integers, kept: NDArray[np.bool_], unit: int, klass: int) -> Row:
    loss = np.full(int(grown.max()) // unit + 1, np.inf)
    loss[grown[kept] // unit] = excess[kept]
    return Row(unit, loss, klass=klass)
