"""Steps from item to item of every class, measured exactly, and some or all of them in one order."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.hulls.descending import descending_order
from solvers.problem import Problem

BLOCK = 131_072  # cells of one pass: the temporaries of a block stay in the processor's cache


@dataclass(frozen=True, slots=True, eq=False)
class SortedItems:
    """The items of each class by size, then by loss; forbidden ones behind all others.

    Attributes:
        item: int64 ``[K, 1]`` when all classes share one order, else ``[K, N]``: the item at each place.
        loss: float64 ``[K, N]``; at forbidden places the largest of the class, so that no step leads there.
        size: int64 ``[K, N]``; at forbidden places past the largest of the class.
    """

    item: Integers
    loss: Floats
    size: Integers

    def at(self, place: NDArray[np.integer], klass: Integers) -> Integers:
        """Which items stand at these places of these classes."""
        found: Integers = self.item[place, 0] if self.item.shape[1] == 1 else self.item[place, klass]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class StepGrid:
    """What lies between neighbouring kept places of every class, in no order yet; all arrays ``[K, N]`` but ``cell``.

    Attributes:
        items: the sorted items.
        cell: int64 ``[S]``, place·N + class of the place that a step leads to, rising; the other cells have no meaning.
        value: float64, by which steps are ordered, > 0 and never rising along a class; times 2^−``exponent``.
        exponent: power of two by which the values were divided.
        grown: int64, exact growth of the size, > 0.
        saved: float64, loss saved, > 0.
        origin: int32, the place that the step leads from.
    """

    items: SortedItems
    cell: Integers
    value: Floats
    exponent: int
    grown: Integers
    saved: Floats
    origin: NDArray[np.int32]

    @property
    def start(self) -> Integers:
        """The smallest item of every class, of equal sizes that of least loss, int64 ``[N]``: where its steps begin."""
        classes = self.value.shape[1]
        return self.items.at(np.zeros(classes, dtype=np.int64), np.arange(classes))

    def in_order(self) -> "Steps":
        """All steps by falling value; of equal values those to smaller places first."""
        return self.steps(self.cell[descending_order(self.value.ravel()[self.cell])])

    def steps(self, cell: Integers) -> "Steps":
        """The steps that lead to some cells, in the order given."""
        place = cell // max(self.value.shape[1], 1)
        klass = cell - place * self.value.shape[1]
        return Steps(self, cell, place, klass, self.grown.ravel().take(cell), self.saved.ravel().take(cell))


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Some or all steps of a grid, in an order in which the steps of one class follow each other; all arrays ``[S]``.

    Attributes:
        grid: where they come from.
        cell: int64, the cells that the steps lead to.
        place: int64, the places that they lead to.
        klass: int64, their classes.
        grown: int64, exact growth of the size, > 0.
        saved: float64, loss saved, > 0.
    """

    grid: StepGrid
    cell: Integers
    place: Integers
    klass: Integers
    grown: Integers
    saved: Floats

    @property
    def count(self) -> int:
        """S, the number of steps."""
        return int(self.cell.shape[0])

    def value(self, steps: slice | Integers) -> Floats:
        """What some steps are ordered by; of hull steps the rate, loss saved per unit of size."""
        found: Floats = self.grid.value.ravel()[self.cell[steps]]
        return np.ldexp(found, self.grid.exponent) if self.grid.exponent else found

    def item(self, steps: slice | Integers) -> Integers:
        """The items that some steps lead to."""
        return self.grid.items.at(self.place[steps], self.klass[steps])

    def previous(self, steps: slice | Integers) -> Integers:
        """The items that some steps lead from."""
        return self.grid.items.at(self.grid.origin.ravel()[self.cell[steps]], self.klass[steps])


def blocks_of(items: int, classes: int) -> list[slice]:
    """Slices of the classes, of about ``BLOCK`` cells each."""
    width = max(BLOCK // max(items, 1), 1)
    return [slice(begin, begin + width) for begin in range(0, classes, width)]


def sort_items(problem: Problem) -> SortedItems:
    """The items of every class from the smallest to the largest, of equal sizes the least loss first."""
    loss, size = problem.loss.T, problem.sizes[0].T
    if not problem.all_allowed:
        loss, size = _put_aside(loss, size)
    if problem.classes == 0:
        return SortedItems(np.arange(problem.items)[:, None], loss, size)
    shared = np.lexsort((loss[:, 0], size[:, 0]))
    if (shared[1:] > shared[:-1]).all():
        shared_loss, shared_size = loss, size
    else:
        shared_loss, shared_size = loss[shared], size[shared]
    if _is_sorted(shared_loss, shared_size):
        return SortedItems(shared[:, None], shared_loss, shared_size)
    own = np.lexsort((loss, size), axis=0)
    return SortedItems(own, np.take_along_axis(loss, own, axis=0), np.take_along_axis(size, own, axis=0))


def undominated(items: SortedItems) -> NDArray[np.bool_]:
    """At which places the loss is smaller than at all places before, bool ``[K, N]``; forbidden places are none of them."""
    kept = np.ones(items.loss.shape, dtype=np.bool_)
    kept[1:] = items.loss[1:] < np.minimum.accumulate(items.loss, axis=0)[:-1]
    return kept


def _is_sorted(loss: Floats, size: Integers) -> bool:
    if (size[1:] > size[:-1]).all():
        return True
    later = (size[1:] > size[:-1]) | ((size[1:] == size[:-1]) & (loss[1:] >= loss[:-1]))
    return bool(later.all())


def _put_aside(loss: Floats, size: Integers) -> tuple[Floats, Integers]:
    """Forbidden items with the largest loss of their class and more than its largest size."""
    forbidden = np.isinf(loss)
    largest = np.where(forbidden, -np.inf, loss).max(axis=0)
    behind = np.where(forbidden, -1, size).max(axis=0)
    behind += behind < np.iinfo(np.int64).max
    return np.where(forbidden, largest, loss), np.where(forbidden, behind, size)


def measure_steps(items: SortedItems, kept: NDArray[np.bool_], value: Floats, exponent: int = 0) -> StepGrid:
    """The steps between neighbouring kept places of every class.

    Args:
        items: the sorted items.
        kept: bool ``[K, N]``; the first place of every class counts as kept.
        value: float64 ``[K, N]``, finite and > 0 at the kept places beyond the first, never rising along a class.
        exponent: power of two by which the values were divided.
    """
    grown, saved, origin = np.empty_like(items.size), np.empty(kept.shape), np.empty(kept.shape, dtype=np.int32)
    for block in blocks_of(*kept.shape):
        loss, size, keep = items.loss[:, block], items.size[:, block], kept[:, block]
        _measure(loss, size, keep, grown=grown[:, block], saved=saved[:, block], origin=origin[:, block])
    return StepGrid(items, np.flatnonzero(kept[1:]) + kept.shape[1], value, exponent, grown, saved, origin)


def _measure(
    loss: Floats, size: Integers, kept: NDArray[np.bool_], *, grown: Integers, saved: Floats, origin: NDArray[np.int32]
) -> None:
    """Write what lies between every place and the kept place before it."""
    before_loss, before_size, before = loss[0].copy(), size[0].copy(), np.zeros(loss.shape[1], dtype=np.int32)
    for place in range(1, loss.shape[0]):
        np.subtract(size[place], before_size, out=grown[place])
        np.subtract(before_loss, loss[place], out=saved[place])
        origin[place] = before
        np.copyto(before_loss, loss[place], where=kept[place])
        np.copyto(before_size, size[place], where=kept[place])
        np.copyto(before, place, where=kept[place])
