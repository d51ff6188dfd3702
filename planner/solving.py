"""Solve one planning problem, and explain the answer: margins, next formats, baselines, prices."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import solvers
from planner.budget import Budget, BudgetKind, Footprint
from planner.build import Classes, GroupCurves
from planner.errors import BudgetAboveCeilingError, BudgetBelowFloorError, PlannerError

BITS_PER_MEGABYTE = 8_000_000


@dataclass(frozen=True, slots=True)
class Solved:
    """A solved planning problem.

    Attributes:
        solution: the solver's answer, re-checked by the driver.
        budget_bits: the budget in bits for the planned layers.
        seconds: wall time of the solve.
        next_up: int64 (groups,): column of the next larger useful format, -1 where there is none.
        fragile: bool (groups,): another format wins if losses move by one standard error, at this price of a bit.
        standard_error: of the predicted loss, cells taken as independent.
    """

    solution: solvers.Solution
    budget_bits: int
    seconds: float
    next_up: NDArray[np.int64]
    fragile: NDArray[np.bool_]
    standard_error: float


def check_floor(smallest_bits: int, budget: Budget, footprint: Footprint) -> None:
    """Refuse a budget that even the smallest assignment exceeds; needs no measurement.

    Raises:
        BudgetBelowFloorError: with the smallest feasible budget, in the budget's own unit and in bytes.
    """
    if smallest_bits <= budget.layer_bits(footprint):
        return
    least = budget.of_layer_bits(smallest_bits, footprint)
    file_bytes = footprint.fixed_bytes + -(-smallest_bits // 8)
    msg = (
        f"the budget of {_say(budget, budget.value)} is below the smallest plan: the least feasible is {_say(budget, least)}. "
        f"Raise the budget, add smaller formats, or loosen floors and pins"
    )
    raise BudgetBelowFloorError(
        msg,
        smallest_feasible=least,
        unit=budget.kind.value,
        smallest_feasible_bytes=int(least) if budget.kind is not BudgetKind.EFFECTIVE_BITS else file_bytes,
        smallest_file_bytes=file_bytes,
    )


def check_ceiling(largest_bits: int, budget: Budget, footprint: Footprint) -> None:
    """Refuse a budget that binds nothing: most often a slip of the unit.

    Raises:
        BudgetAboveCeilingError: with the largest budget that any plan could use.
    """
    if largest_bits >= budget.layer_bits(footprint):
        return
    most = budget.of_layer_bits(largest_bits, footprint)
    msg = (
        f"the budget of {_say(budget, budget.value)} is above the largest plan, which needs {_say(budget, most)}. "
        f"Lower the budget, add larger formats, or say allow_slack to get the largest plan"
    )
    raise BudgetAboveCeilingError(
        msg,
        largest_useful=most,
        unit=budget.kind.value,
        largest_file_bytes=footprint.fixed_bytes + -(-largest_bits // 8),
    )


def pose_problem(classes: Classes, curves: GroupCurves, budget_bits: int) -> solvers.Problem:
    """The multiple-choice knapsack of layer groups and candidate formats."""
    return solvers.Problem(loss=curves.loss, sizes=classes.sizes[np.newaxis], budgets=np.array([budget_bits], dtype=np.int64))


def solve_plan(
    classes: Classes, curves: GroupCurves, budget_bits: int, *, solver: solvers.AbstractSolver, deadline: float | None
) -> Solved:
    """The assignment of least predicted loss within the budget, with its proof.

    Raises:
        PlannerError: the solver gave no assignment although the budget is feasible.
    """
    problem = pose_problem(classes, curves, budget_bits)
    began = time.perf_counter()
    solution = solvers.solve(problem, solver, deadline=deadline)
    seconds = time.perf_counter() - began
    if solution.status not in (solvers.Status.OPTIMAL, solvers.Status.FEASIBLE, solvers.Status.LIMIT):
        msg = f"the solver found no plan ({solution.status.name.lower()}): {solution.status.advice}"
        raise PlannerError(msg)
    price = float(solution.multipliers[0]) if len(solution.multipliers) else 0.0
    chosen = np.arange(len(classes.groups)), solution.choice
    return Solved(
        solution=solution,
        budget_bits=budget_bits,
        seconds=seconds,
        next_up=_next_up(classes, curves, solution.choice),
        fragile=_fragile(classes, curves, solution.choice, price),
        standard_error=float(np.sqrt(np.square(curves.standard_error[chosen]).sum())),
    )


def _next_up(classes: Classes, curves: GroupCurves, choice: NDArray[np.int64]) -> NDArray[np.int64]:
    """The smallest larger format whose loss is lower; -1 where no larger format helps."""
    if not len(choice):
        return np.empty(0, dtype=np.int64)
    rows = np.arange(len(choice))
    size, loss = classes.sizes[rows, choice][:, None], curves.loss[rows, choice][:, None]
    useful = np.isfinite(curves.loss) & (classes.sizes > size) & (curves.loss < loss)
    ordered = np.where(useful, classes.sizes, np.iinfo(np.int64).max)
    return np.where(useful.any(axis=1), ordered.argmin(axis=1), -1)


def _fragile(classes: Classes, curves: GroupCurves, choice: NDArray[np.int64], price: float) -> NDArray[np.bool_]:
    """Whether some other format's priced loss is within one standard error of the chosen one's."""
    if not len(choice):
        return np.empty(0, dtype=bool)
    rows = np.arange(len(choice))
    priced = curves.loss + price * classes.sizes
    variance = np.square(curves.standard_error)
    margin = priced - priced[rows, choice][:, None]
    reach = np.sqrt(variance + variance[rows, choice][:, None])
    close = np.isfinite(priced) & (margin < reach)
    close[rows, choice] = False
    fragile: NDArray[np.bool_] = close.any(axis=1)
    return fragile


def uniform_column(classes: Classes, curves: GroupCurves, budget_bits: int) -> int | None:
    """Column of the best single format that every group may take within the budget, or ``None``."""
    if not len(classes.groups):
        return None
    totals = classes.sizes.sum(axis=0)
    losses = curves.loss.sum(axis=0)
    fits = np.flatnonzero(np.isfinite(losses) & (totals <= budget_bits))
    return int(fits[np.argmin(losses[fits])]) if fits.size else None


def _say(budget: Budget, value: float) -> str:
    if budget.kind is BudgetKind.EFFECTIVE_BITS:
        return f"{value:.6g} effective bits"
    return f"{int(value):,} {budget.kind.value.replace('_', ' ')}"
