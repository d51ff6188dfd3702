"""Plain ways to choose, for comparison in reports and as a judge's reference in tests."""

from dataclasses import dataclass

import numpy as np

from solvers.excess import measure_excess
from solvers.hull import HullSteps, walk_hulls
from solvers.problem import Integers, Problem
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


@dataclass(frozen=True, slots=True)
class HullGreedy(AbstractSolver):
    """Steps along the convex hulls by loss saved per unit of size, then whatever later step still fits.

    The greedy of Sinha and Zoltners (1979). Its multiplier is that of the LP optimum, so its gap is the honest distance to
    the LP bound; it never closes it. Take it as a baseline: ``Mckp`` costs little more and proves its answer.
    """

    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        """The greedy choice and the LP multiplier."""
        excess = measure_excess(problem)
        steps = walk_hulls(excess)
        sizes = problem.sizes[0]
        grown = sizes[steps.klass, steps.item] - sizes[steps.klass, steps.previous]
        used = int(sizes[np.arange(problem.classes), steps.start].sum())
        whole = int(np.searchsorted(np.cumsum(grown), int(problem.budgets[0]) - used, side="right"))
        choice = steps.start.copy()
        choice[steps.klass[:whole]] = steps.item[:whole]  # of repeated classes the last, largest item stays
        price = float(steps.rate[whole]) if whole < steps.rate.shape[0] else 0.0
        _fill(steps, grown, choice, whole, int(problem.budgets[0]) - used - int(grown[:whole].sum()))
        return Answer(Status.FEASIBLE, choice, np.ldexp(np.array([price]), excess.exponent))


def _fill(steps: HullSteps, grown: Integers, choice: Integers, first: int, slack: int) -> None:
    """Later steps that fit and whose class stands where they begin, in their order."""
    for s in (first + np.flatnonzero(grown[first:] <= slack)).tolist():
        if grown[s] <= slack and choice[steps.klass[s]] == steps.previous[s]:
            choice[steps.klass[s]] = steps.item[s]
            slack -= int(grown[s])
