"""A random feasible choice."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Integers
from solvers.baselines.greedy import take_while_fitting
from solvers.baselines.measures import room_above_smallest
from solvers.hulls.steps import SortedItems, measure_steps, sort_items, undominated
from solvers.problem import Problem
from solvers.solution import Status
from solvers.solver import AbstractSolver, Answer, Deadline


@dataclass(frozen=True, slots=True)
class Random(AbstractSolver):
    """A random choice that uses up its budget: steps to the next larger undominated item in random order, while they fit.

    What any method has to beat. The draw depends on the seed and on the numbers of the problem, not on the order of its
    classes and items. It proves nothing: its bound is Σ_i min_k loss.

    Attributes:
        seed: of the draw.
    """

    seed: int = 0

    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        """One random choice."""
        items = sort_items(problem)
        kept = undominated(items)
        rank = np.cumsum(kept, axis=0) - 1
        draws = np.random.default_rng(self.seed).random((problem.classes, int(rank.max(initial=0)) + 1))
        value = np.empty((draws.shape[1], problem.classes))
        value[:, _in_own_order(items, kept)] = 1.0 - np.sort(draws, axis=1).T
        steps = measure_steps(items, kept, np.take_along_axis(value, rank, axis=0)).in_order()
        return Answer(Status.FEASIBLE, take_while_fitting(steps, room_above_smallest(problem), fill=True))


def _in_own_order(items: SortedItems, kept: NDArray[np.bool_]) -> Integers:
    """The classes sorted by their undominated items, so that the order in which they were given does not matter."""
    first = np.argsort(~kept, axis=0, kind="stable")
    inside = np.take_along_axis(kept, first, axis=0)
    loss = np.where(inside, np.take_along_axis(items.loss, first, axis=0), 0.0)
    size = np.where(inside, np.take_along_axis(items.size, first, axis=0), -1)
    return np.lexsort((*loss, *size))
