"""The items that no smaller item of their class beats: what every rule without a hull chooses among."""

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.problem import Problem
from solvers.steps import SortedItems, sort_items


def undominated(problem: Problem) -> tuple[SortedItems, NDArray[np.bool_]]:
    """The sorted items, and at which places there is a smaller loss than at all places before: bool ``[K, N]``."""
    items = sort_items(problem)
    kept = np.ones(items.loss.shape, dtype=np.bool_)
    kept[1:] = items.loss[1:] < np.minimum.accumulate(items.loss, axis=0)[:-1]
    return items, kept


def room_above_smallest(problem: Problem) -> int:
    """What the budget leaves when every class takes its smallest item."""
    return int(problem.budgets[0]) - int(problem.smallest_sizes()[0])


def whole_range(items: SortedItems, kept: NDArray[np.bool_]) -> tuple[Integers, Integers, Floats]:
    """From the smallest to the least loss of every class: the last kept place, growth of size, loss saved; ``[N]`` each."""
    last = items.loss.shape[0] - 1 - kept[::-1].argmax(axis=0)
    rows = np.arange(last.shape[0])
    return last, items.size[last, rows] - items.size[0], items.loss[0] - items.loss[last, rows]


def rate(saved: Floats, grown: Integers) -> Floats:
    """Loss saved per unit of size; 0 where nothing grows."""
    found: Floats = np.divide(saved, grown, out=np.zeros(saved.shape), where=grown > 0)
    return found
