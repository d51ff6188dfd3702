"""Rules that rank whole classes once instead of weighing single steps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.baselines.measures import rate, room_above_smallest, whole_range
from solvers.hulls.steps import SortedItems, sort_items, undominated
from solvers.problem import Problem
from solvers.solution import Status
from solvers.solver import AbstractSolver, Answer, Deadline


@dataclass(frozen=True, slots=True)
class RatioRule(AbstractSolver):
    """HAWQ's ranking: classes by what their best item saves per unit of size, each as large as the rest of the budget allows.

    HAWQ-V2 and V3 (Dong et al. 2020, Yao et al. 2021) rank layers by Ω = (mean Hessian trace)·‖Q(W) − W‖². Our reading, for
    losses that are such Ω: the ratio of a class is the loss saved from its smallest to its least-loss item over the growth of
    its size; in the order of falling ratio every class takes its least-loss item, and where that does not fit the best that
    does. With two formats this is the ratio greedy of the 0/1 knapsack that HAWQ-V3 solves as an integer program. It proves
    nothing: its bound is Σ_i min_k loss.
    """

    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        """The choice of the ranking."""
        items = sort_items(problem)
        kept = undominated(items)
        _, grown, saved = whole_range(items, kept)
        place = _promote(items, kept, _falling(rate(saved, grown)), room_above_smallest(problem), tries=problem.classes)
        return Answer(Status.FEASIBLE, items.at(place, np.arange(problem.classes)))


@dataclass(frozen=True, slots=True)
class OmpqLinear(AbstractSolver):
    """OMPQ's linear program: value linear in bits, so every class but one ends at its largest or at its smallest item.

    Ma et al. (2023) maximise Σ θ_i·x_i subject to Σ n_i·x_i ≤ budget and a box on the bits x_i, and round. Here x_i runs over
    the sizes from the smallest to the least-loss item of a class, and the one fractional class is rounded down to the best
    item within its share. A linear program over a box is a ranking by θ_i per unit of size, which is how it is solved. The
    curve of a class is not looked at, and nothing is proved: the bound is Σ_i min_k loss.

    Attributes:
        scores: θ times the range of bits, one value ≥ 0 a class; ``None`` takes the loss that the whole range saves.
    """

    scores: tuple[float, ...] | None = None

    def refusal(self, problem: Problem) -> str | None:
        """Refuses more than one budget, and scores for another number of classes."""
        if self.scores is not None and len(self.scores) != problem.classes:
            return f"OmpqLinear has {len(self.scores)} scores for {problem.classes} classes; give one a class"
        return AbstractSolver.refusal(self, problem)

    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        """The rounded optimum of the linear program."""
        items = sort_items(problem)
        kept = undominated(items)
        _, grown, saved = whole_range(items, kept)
        scores = saved if self.scores is None else np.array(self.scores)
        place = _promote(items, kept, _falling(rate(scores, grown)), room_above_smallest(problem), tries=1)
        return Answer(Status.FEASIBLE, items.at(place, np.arange(problem.classes)))


def _falling(values: Floats) -> Integers:
    return np.argsort(-values, kind="stable")


def _promote(items: SortedItems, kept: NDArray[np.bool_], order: Integers, room: int, *, tries: int) -> Integers:
    """Raise classes in an order to their last kept place, and where that does not fit to the last that does.

    Args:
        items: the sorted items.
        kept: bool ``[K, N]``, places that may be taken.
        order: the classes.
        room: size that may be added.
        tries: how many classes may be looked at from the first that does not reach its last place on.

    Returns:
        int64 ``[N]``, the place of each class.
    """
    last, grown, _ = whole_range(items, kept)
    used = np.cumsum(grown[order])
    whole = int(np.searchsorted(used, room, side="right"))
    place = np.zeros(order.shape, dtype=np.int64)
    place[order[:whole]] = last[order[:whole]]
    room -= int(used[whole - 1]) if whole else 0
    growth = np.where(kept, items.size - items.size[0], np.iinfo(np.int64).max)
    least = growth[1:].min(axis=0, initial=np.iinfo(np.int64).max)
    rest = order[whole : whole + tries]
    for i in rest[least[rest] <= room].tolist():
        place[i] = np.flatnonzero(growth[:, i] <= room)[-1]
        room -= int(growth[place[i], i])
    return place
