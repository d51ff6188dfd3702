"""Loss and its standard error together: the objective of a cautious plan, and the bound that goes with it.

``min Σ loss + κ·(Σ σ²)^½`` over the chosen cells, taken as independent: the upper end of an interval of κ standard errors.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

import solvers

NEGLIGIBLE = 1e-9  # of a direction of norm 1: left out of the bound, which holds with any direction
ADVICE = "Use it if its gap is small enough: no plan has a smaller loss + caution × standard error than lower_bound."


@dataclass(frozen=True, slots=True, eq=False)
class Proved:
    """An assignment and the bound that says how good it is.

    Attributes:
        choice: int64 (groups,): column of each group's format.
        loss: predicted, summed over the groups.
        standard_error: of ``loss``.
        objective: ``loss + caution·standard_error``: what the bound is about.
        lower_bound: no assignment within the budgets has a smaller objective.
        lagrangian_bound: what ``multipliers`` and ``direction`` alone say:
            ``Σ min(loss + κ·σ·direction + Σ_r multipliers[r]·sizes[r]) − Σ_r multipliers[r]·budgets[r]``.
        status: how the solve ended.
        advice: what that means.
        multipliers: float64 (budgets,): loss per unit of each budget, the stored bits first.
        direction: float64 (groups, formats), of norm ≤ 1; ``None`` stands for zeros.
        solver: which solver found the assignment.
    """

    choice: NDArray[np.int64]
    loss: float
    standard_error: float
    objective: float
    lower_bound: float
    lagrangian_bound: float
    status: solvers.Status
    advice: str
    multipliers: NDArray[np.float64]
    direction: NDArray[np.float64] | None
    solver: str

    @property
    def gap(self) -> float:
        """(objective − lower_bound) / |objective|; 0 where both are equal."""
        if self.objective == self.lower_bound:
            return 0.0
        return (self.objective - self.lower_bound) / abs(self.objective) if self.objective else float("inf")

    def priced(self, problem: solvers.Problem, errors: NDArray[np.float64], caution: float) -> NDArray[np.float64]:
        """The additive losses, float64 (groups, formats), whose least sum is the bound; ``inf`` where not legal."""
        table = problem.loss if self.direction is None else problem.loss + caution * errors * self.direction
        alone = len(self.multipliers) == 1  # the same products, without the way through a library of linear algebra
        prices = self.multipliers[0] * problem.sizes[0] if alone else np.tensordot(self.multipliers, problem.sizes, 1)
        priced: NDArray[np.float64] = table + prices
        return priced


def spread_of(errors: NDArray[np.float64], choice: NDArray[np.int64]) -> float:
    """Standard error of the sum of the chosen cells."""
    return float(np.sqrt(np.square(errors[np.arange(len(choice)), choice]).sum()))


def proved_alone(solution: solvers.Solution, errors: NDArray[np.float64], caution: float, solver: str) -> Proved:
    """The assignment of least loss; its bound holds with any caution, because no standard error is below 0."""
    spread = spread_of(errors, solution.choice)
    objective = solution.loss + caution * spread
    status = solution.status
    if objective > solution.loss and status is solvers.Status.OPTIMAL:
        status = solvers.Status.FEASIBLE
    return Proved(
        choice=solution.choice,
        loss=solution.loss,
        standard_error=spread,
        objective=objective,
        lower_bound=solution.lower_bound,
        lagrangian_bound=solution.stats.lagrangian_bound,
        status=status,
        advice=status.advice if caution == 0 else ADVICE,
        multipliers=solution.multipliers,
        direction=None,
        solver=solver,
    )


def cautious(
    problem: solvers.Problem, errors: NDArray[np.float64], caution: float, plain: Proved, stop: solvers.Deadline
) -> Proved:
    """The better of the plain assignment and the robust one by the objective, under the better bound of the two.

    Args:
        problem: losses, sizes and budgets.
        errors: float64 (groups, formats), standard errors ≥ 0 of the losses.
        caution: κ > 0.
        plain: the assignment of least loss.
        stop: limit of the cone program.
    """
    if not errors.any():
        return plain
    robust = solvers.robust_plan(problem, errors, caution, deadline=stop.remaining())
    if not robust.choice.size:
        return plain
    best, spread = plain, spread_of(errors, robust.choice)
    objective = robust.loss + caution * spread
    if objective < plain.objective:
        best = replace(plain, choice=robust.choice, loss=robust.loss, standard_error=spread, objective=objective, solver="convex")
    direction = np.where(np.abs(robust.direction) > NEGLIGIBLE, robust.direction, 0.0)
    dual = replace(best, multipliers=robust.multipliers, direction=direction)
    height = math.fsum(dual.priced(problem, errors, caution).min(axis=1)) - math.fsum(robust.multipliers * problem.budgets)
    if height > plain.lagrangian_bound:
        best = replace(dual, lagrangian_bound=height)
    bound = min(max(plain.lower_bound, height), best.objective)
    unfinished = solvers.Status.LIMIT in (plain.status, robust.status)
    status = solvers.Status.LIMIT if unfinished else solvers.Status.FEASIBLE
    return replace(best, lower_bound=bound, status=solvers.Status.OPTIMAL if bound == best.objective else status)
