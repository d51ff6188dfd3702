"""Steps from item to item of every class, measured exactly and put in one order."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.descending import descending_order
from solvers.problem import Problem

BLOCK = 8_192  # classes of one pass: the temporaries of a block stay in the processor's cache
STEP = np.dtype([("grown", np.int64), ("saved", np.float64)])  # side by side: a step is fetched in one access


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
class Steps:
    """Steps between items of the classes in an order of falling value; the steps of one class keep theirs.

    Attributes:
        start: int64 ``[N]``, the least loss among the smallest items of each class, from where its steps lead on.
        klass: int64 ``[S]``, class of a step.
        grown: int64 ``[S]``, exact growth of the size, > 0.
        saved: float64 ``[S]``, loss saved, > 0.
        items: the sorted items, in whose places the steps are kept.
        place: int64 ``[S]``, the place that a step leads to.
        values: float64 ``[K, N]``, by which the steps are ordered, at the places that they lead to; elsewhere without meaning.
        origins: int32 ``[K, N]``, the place that it leads from.
    """

    start: Integers
    klass: Integers
    grown: Integers
    saved: Floats
    items: SortedItems
    place: Integers
    values: Floats
    origins: NDArray[np.int32]

    @property
    def count(self) -> int:
        """S, the number of steps."""
        return int(self.klass.shape[0])

    def value(self, steps: slice | Integers) -> Floats:
        """What some steps are ordered by; of hull steps the rate, loss saved per unit of size."""
        found: Floats = self.values[self.place[steps], self.klass[steps]]
        return found

    def item(self, steps: slice | Integers) -> Integers:
        """The items that some steps lead to."""
        return self.items.at(self.place[steps], self.klass[steps])

    def previous(self, steps: slice | Integers) -> Integers:
        """The items that some steps lead from."""
        klass = self.klass[steps]
        return self.items.at(self.origins[self.place[steps], klass], klass)


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


def order_steps(items: SortedItems, kept: NDArray[np.bool_], value: Floats) -> Steps:
    """The steps between neighbouring kept places of every class, by falling value.

    Args:
        items: the sorted items.
        kept: bool ``[K, N]``; the first place of every class counts as kept.
        value: float64 ``[K, N]``, finite and > 0 at the kept places beyond the first, never rising along a class.
    """
    count = kept.shape[1]
    step, origins = np.empty(kept.shape, dtype=STEP), np.empty(kept.shape, dtype=np.int32)
    for begin in range(0, count, BLOCK):
        block = slice(begin, begin + BLOCK)
        _measure(items.loss[:, block], items.size[:, block], kept[:, block], step[:, block], origins[:, block])
    cell = np.flatnonzero(kept[1:]) + count
    cell = cell[descending_order(value.ravel()[cell])]
    found = step.ravel().take(cell)
    place = cell // max(count, 1)
    return Steps(
        start=items.at(np.zeros(count, dtype=np.int64), np.arange(count)),
        klass=cell - place * count,
        grown=found["grown"],
        saved=found["saved"],
        items=items,
        place=place,
        values=value,
        origins=origins,
    )


def _measure(loss: Floats, size: Integers, kept: NDArray[np.bool_], step: NDArray[np.void], origins: NDArray[np.int32]) -> None:
    """Write what lies between every place and the kept place before it."""
    before_loss, before_size, before = loss[0].copy(), size[0].copy(), np.zeros(loss.shape[1], dtype=np.int32)
    for place in range(1, loss.shape[0]):
        np.subtract(size[place], before_size, out=step["grown"][place])
        np.subtract(before_loss, loss[place], out=step["saved"][place])
        origins[place] = before
        np.copyto(before_loss, loss[place], where=kept[place])
        np.copyto(before_size, size[place], where=kept[place])
        np.copyto(before, place, where=kept[place])
