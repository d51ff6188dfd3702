"""One item for all classes."""

from dataclasses import dataclass

import numpy as np

from solvers.problem import Problem
from solvers.solution import Status
from solvers.solver import AbstractSolver, Answer, Deadline


@dataclass(frozen=True, slots=True)
class Uniform(AbstractSolver):
    """One item for all classes: the best column that every class may take and that fits, with any number of budgets.

    It proves nothing: its bound is Σ_i min_k loss. Fails, with the smallest uniform size, where no column fits.
    """

    def refusal(self, problem: Problem) -> str | None:
        """Takes every problem."""
        return None

    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        """The fitting column of least loss, the first of equals."""
        columns = np.flatnonzero(problem.allowed().all(axis=0))
        if columns.size == 0:
            return Answer(
                Status.FAILED, None, reason="no item is allowed in every class, so no uniform choice exists; use Mckp()"
            )
        totals = problem.sizes[:, :, columns].sum(axis=1, dtype=np.int64)
        fits = (totals <= problem.budgets[:, None]).all(axis=0)
        if not fits.any():
            reason = f"no uniform choice keeps the budget; the smallest has sizes {totals.min(axis=1).tolist()}; use Mckp()"
            return Answer(Status.FAILED, None, reason=reason)
        losses = np.where(fits, problem.loss[:, columns].sum(axis=0), np.inf)
        return Answer(Status.FEASIBLE, np.full(problem.classes, columns[losses.argmin()]))
