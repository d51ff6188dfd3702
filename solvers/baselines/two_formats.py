"""Two formats and a ranking by sensitivity: what most published mixed-precision recipes do."""

from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.problem import Problem
from solvers.solution import Status
from solvers.solver import AbstractSolver, Answer, Deadline


@dataclass(frozen=True, slots=True)
class TwoFormats(AbstractSolver):
    """All classes in one column, the most sensitive ones in a second: the best pair of columns that every class may take.

    Classes are ranked by the loss that the second column saves, whatever it costs, and as many as fit are promoted from the
    top (LieQ, NSDS and NNCF choose between two bit widths so). It proves nothing: its bound is Σ_i min_k loss. Fails, with
    the smallest size, where no column that every class may take fits. ``O(K²·N log N)``.
    """

    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        """The best pair, the first of equals."""
        columns, budget = np.flatnonzero(problem.allowed().all(axis=0)).tolist(), int(problem.budgets[0])
        totals = problem.sizes[0].sum(axis=0, dtype=np.int64)
        fitting = [low for low in columns if totals[low] <= budget]
        if not fitting:
            smallest = min((int(totals[low]) for low in columns), default=None)
            reason = f"no item of every class keeps the budget (the smallest has size {smallest}); use Mckp()"
            return Answer(Status.FAILED, None, reason=reason)
        choices = [_promoted(problem, low, high, budget) for low in fitting for high in columns]
        return Answer(Status.FEASIBLE, min(choices, key=lambda found: found[0])[1])


def _promoted(problem: Problem, low: int, high: int, budget: int) -> tuple[float, Integers]:
    """Loss and choice with the most sensitive classes in column ``high``, as many as fit."""
    saved: Floats = problem.loss[:, low] - problem.loss[:, high]
    order = np.argsort(-saved, kind="stable")[: np.count_nonzero(saved > 0)]
    total = int(problem.sizes[0, :, low].sum()) + np.cumsum(problem.sizes[0, order, high] - problem.sizes[0, order, low])
    count = int(np.flatnonzero(np.insert(total, 0, 0) <= budget)[-1])
    choice = np.full(problem.classes, low)
    choice[order[:count]] = high
    return float(problem.loss[:, low].sum() - saved[order[:count]].sum()), choice
