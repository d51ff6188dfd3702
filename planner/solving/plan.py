"""Solve one planning problem and explain the answer: proof, margins, next formats, prices."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from opentelemetry import trace

import solvers
from planner.build import Classes, GroupCurves
from planner.errors import CountConflictError, UnsolvedError
from planner.solving.caution import Proved, cautious, proved_alone
from planner.solving.counts import SEVERAL_LIMITS
from planner.solving.explaining import fragile_groups, larger_formats, larger_items
from planner.solving.rows import Row, clamped
from planner.telemetry import tracer
from sensitivity.formats.abstract import AbstractFormat

BITS_PER_MEGABYTE = 8_000_000
USABLE = (solvers.Status.OPTIMAL, solvers.Status.FEASIBLE, solvers.Status.LIMIT)


@dataclass(frozen=True, slots=True)
class Solved:
    """A solved planning problem.

    Attributes:
        proved: the assignment with its bound.
        size_bits: stored bits of the assignment.
        budget_bits: the budget in bits for the planned layers.
        seconds: wall time of the solve.
        price: loss that one more stored bit would save, at the margin.
        prices: float64 (rows,): loss per whole unit of each row that was given; 0 where it does not bind.
        next_up: int64 (groups,): column of the next larger useful format, -1 where there is none.
        fragile: bool (groups,): another format wins if losses move by one standard error, at these prices.
    """

    proved: Proved
    size_bits: int
    budget_bits: int
    seconds: float
    price: float
    prices: NDArray[np.float64]
    next_up: NDArray[np.int64]
    fragile: NDArray[np.bool_]

    @property
    def bytes(self) -> int:
        """Memory of the arrays."""
        proved = self.proved
        direction = 0 if proved.direction is None else proved.direction.nbytes
        mine = self.prices.nbytes + self.next_up.nbytes + self.fragile.nbytes
        return mine + proved.choice.nbytes + proved.multipliers.nbytes + direction


def pose_problem(
    classes: Classes[AbstractFormat], curves: GroupCurves, budget_bits: int, rows: Sequence[Row] = ()
) -> solvers.Problem:
    """The multiple-choice knapsack of layer groups and candidate formats; every row is one more budget, in its own units."""
    sizes = np.stack([classes.sizes, *(row.table for row in rows)])
    budgets = np.array([clamped(limit) for limit in (budget_bits, *(row.limit for row in rows))], dtype=np.int64)
    return solvers.Problem(loss=curves.loss, sizes=sizes, budgets=budgets)


@tracer.start_as_current_span("solve")
def solve_plan(
    classes: Classes[AbstractFormat],
    curves: GroupCurves,
    budget_bits: int,
    *,
    deadline: float | None,
    rows: Sequence[Row] = (),
    caution: float = 0.0,
    posed: solvers.Problem | None = None,
) -> Solved:
    """The assignment of least predicted loss (and caution × standard error) within the budget and all rows, with its proof.

    Without caution it is proven optimal: by ``Mckp`` where at most two limits can bind, else by ``Ilp``.

    Args:
        classes: layer groups.
        curves: their losses.
        budget_bits: one that the smallest assignment keeps.
        deadline: wall seconds after which the best assignment so far is taken.
        rows: limits to keep besides the budget.
        caution: κ ≥ 0, standard errors of the total that are added to the loss.
        posed: ``pose_problem`` of these classes and curves for any budget and no rows: what it knows already is not made again.

    Raises:
        CountConflictError: no assignment keeps the rows within the budget; ``refuse_conflict`` says which of them.
        UnsolvedError: the solver found no assignment and no proof that there is none.
    """
    binding = [number for number, row in enumerate(rows) if row.can_bind(classes.legal)]
    free = bool(binding) and budget_bits >= classes.largest_bits  # of the stored bits: another row stands first then
    if posed is not None and not binding:
        problem = posed.with_budgets([clamped(budget_bits)])
    else:
        problem = pose_problem(classes, curves, budget_bits, [rows[number] for number in binding])
    if free:
        problem = solvers.Problem(loss=curves.loss, sizes=problem.sizes[1:], budgets=problem.budgets[1:])
    began = time.perf_counter()
    stop = solvers.Deadline.after(deadline)
    solution, solver = _solve(problem, stop)
    if solution.status is solvers.Status.INFEASIBLE and binding:
        texts = [rows[number].text for number in binding]
        msg = f"no plan within the budget keeps: {'; '.join(texts)}"
        raise CountConflictError(msg, counts=texts)
    if solution.status not in USABLE:
        msg = f"the solver found no plan ({solution.status.name.lower()}): {solution.reason or solution.status.advice}"
        raise UnsolvedError(msg)
    proved = proved_alone(solution, curves.standard_error, caution, solver)
    if caution > 0:
        proved = cautious(problem, curves.standard_error, caution, proved, stop)
    seconds = time.perf_counter() - began
    trace.get_current_span().set_attributes({"bitplan.groups": len(classes.groups), "bitplan.solver": proved.solver})
    prices = np.zeros(len(rows))
    prices[binding] = proved.multipliers if free else proved.multipliers[1:]
    priced = proved.priced(problem, curves.standard_error, caution)
    return Solved(
        proved=proved,
        size_bits=int(classes.sizes[np.arange(len(classes.groups)), proved.choice].sum()),
        budget_bits=budget_bits,
        seconds=seconds,
        price=0.0 if free else float(proved.multipliers[0]),
        prices=prices,
        next_up=larger_formats(classes, curves, proved.choice) if posed is None else _looked_up(posed, proved.choice),
        fragile=fragile_groups(priced, curves.standard_error, proved.choice),
    )


def _looked_up(posed: solvers.Problem, choice: NDArray[np.int64]) -> NDArray[np.int64]:
    """As ``larger_formats``, from a table that is made once for all budgets."""
    return posed.recall("larger items", larger_items)[np.arange(len(choice)), choice].astype(np.int64)


def _solve(problem: solvers.Problem, stop: solvers.Deadline) -> tuple[solvers.Solution, str]:
    """One budget or two to ``Mckp``; what it leaves open, and more budgets, to ``Ilp``. The better answer, and who gave it."""
    rows = len(problem.budgets)
    if rows > 2:
        return _run(problem, SEVERAL_LIMITS, stop), "ilp"
    found = _run(problem, solvers.Mckp(), stop)
    if rows == 1 or found.status in (solvers.Status.OPTIMAL, solvers.Status.INFEASIBLE):
        return found, "mckp"
    other = _run(problem, SEVERAL_LIMITS, stop)
    decided = other.status in (solvers.Status.OPTIMAL, solvers.Status.INFEASIBLE)
    return (other, "ilp") if decided or other.loss < found.loss else (found, "mckp")


def _run(problem: solvers.Problem, solver: solvers.AbstractSolver, stop: solvers.Deadline) -> solvers.Solution:
    return solvers.solve(problem, solver, deadline=stop.remaining())
