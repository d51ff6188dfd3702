"""Measures of whole classes that the rules without a hull rank by."""

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.hulls.steps import SortedItems
from solvers.problem import Problem


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
