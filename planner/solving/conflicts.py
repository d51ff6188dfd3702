"""Why counts and a budget cannot be kept together, by a smallest set of counts that already cannot."""

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

import solvers
from planner.budget import Budget, Footprint
from planner.build import Classes
from planner.errors import CountConflictError
from planner.solving.budget_limits import refuse_below_floor
from planner.solving.counts import SEVERAL_LIMITS, CountRow


def refuse_conflict(
    classes: Classes, rows: Sequence[CountRow], budget: Budget, footprint: Footprint, *, deadline: float | None
) -> NoReturn:
    """Name the counts that cannot be kept, alone or within the budget.

    Each count is left out in turn; where the others still cannot be kept, it stays out. Of what remains none can be left out,
    unless the deadline ended the search.

    Args:
        classes: layer groups.
        rows: counts that no assignment within the budget keeps together.
        budget: one that the smallest assignment keeps.
        footprint: what is beside the planned layers.
        deadline: wall seconds after which the counts that are left are named.

    Raises:
        CountConflictError: the counts cannot be kept whatever the budget.
        BudgetBelowFloorError: they can, and need a larger budget, which the error names.
    """
    stop = solvers.Deadline.after(deadline)
    least = _least_size(classes, rows, stop)
    if least.status is solvers.Status.INFEASIBLE:
        texts = _smallest_set(classes, rows, None, stop)
        together = "" if len(texts) == 1 else " together"
        msg = f"no plan keeps{together}: {'; '.join(texts)}. Loosen one of them, or change the rules or formats beside them"
        raise CountConflictError(msg, counts=texts)
    texts = _smallest_set(classes, rows, budget.layer_bits(footprint), stop)
    if least.status in (solvers.Status.OPTIMAL, solvers.Status.LIMIT):
        refuse_below_floor(int(least.sizes[0]), budget, footprint, counts=texts)
    msg = f"no plan within the budget keeps: {'; '.join(texts)}. Raise the budget or loosen one of the counts"
    raise CountConflictError(msg, counts=texts)


def _smallest_set(classes: Classes, rows: Sequence[CountRow], budget_bits: int | None, stop: solvers.Deadline) -> list[str]:
    kept = list(rows)
    for row in rows:
        rest = [other for other in kept if other is not row]
        if len(kept) == 1 or stop.passed():
            break
        least = _least_size(classes, rest, stop)
        too_large = budget_bits is not None and least.lower_bound > budget_bits
        if least.status is solvers.Status.INFEASIBLE or too_large:
            kept = rest
    return [row.text for row in kept]


def _least_size(classes: Classes, rows: Sequence[CountRow], stop: solvers.Deadline) -> solvers.Solution:
    """The smallest assignment that keeps the counts: stored bits as the loss, exact in float64 below 2^53."""
    losses = np.where(classes.legal, classes.sizes, np.inf)
    sizes = np.stack([classes.sizes, *(row.table for row in rows)])
    budgets = np.array([classes.largest_bits, *(row.limit for row in rows)], dtype=np.int64)
    solver = solvers.Mckp() if len(rows) == 1 else SEVERAL_LIMITS
    return solvers.solve(solvers.Problem(losses, sizes, budgets), solver, deadline=stop.remaining())
