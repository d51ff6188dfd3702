"""Why limits and counts cannot be kept together, by a smallest set of them that already cannot."""

from collections.abc import Sequence
from typing import Final, NoReturn

import numpy as np

import solvers
from planner.budget import Footprint
from planner.build import Classes
from planner.errors import BudgetConflictError, CountConflictError
from planner.solving.budget_limits import Floor, below, refuse_below_floor
from planner.solving.counts import SEVERAL_LIMITS
from planner.solving.limits import Limit, Limits
from planner.solving.rows import Row, clamped
from sensitivity.formats.abstract import AbstractFormat

DECIDED: Final = (solvers.Status.OPTIMAL, solvers.Status.LIMIT)


def refuse_conflict(limits: Limits, counts: Sequence[Row], footprint: Footprint, *, deadline: float | None) -> NoReturn:
    """Name the limits and counts that cannot be kept together.

    Each is left out in turn, the limits first; where the others still cannot be kept, it stays out. Of what remains none can
    be left out, unless the deadline ended the search.

    Args:
        limits: limits of which each alone can be kept, over their layer groups.
        counts: counts; no assignment keeps all of them and the limits.
        footprint: what is beside the planned layers.
        deadline: wall seconds after which those that are left are named.

    Raises:
        CountConflictError: the counts cannot be kept whatever the limits.
        BudgetBelowFloorError: they can, under a larger limit, which the error names.
        BudgetConflictError: limits that exclude each other, with what each of them would have to be under the others.
    """
    stop = solvers.Deadline.after(deadline)
    classes = limits.classes
    tight = {limit.row: limit for limit in limits.tightest}
    rows = _smallest_set(classes, [*tight, *counts], stop)
    texts = [row.text for row in rows if row not in tight]
    blamed = [tight[row] for row in rows if row in tight]
    if not blamed:
        together = "" if len(texts) == 1 else " together"
        msg = f"no plan keeps{together}: {'; '.join(texts)}. Loosen one of them, or change the rules or formats beside them"
        raise CountConflictError(msg, counts=texts)
    least = {limit: _least_beside(limit, limits, counts, stop) for limit in blamed}
    if len(blamed) == 1 and (found := least[blamed[0]]) is not None:
        refuse_below_floor(found, classes, footprint, keeping=texts)
    _refuse_together(least, texts, classes, footprint)


def _refuse_together(
    least: dict[Limit, Floor | None], counts: Sequence[str], classes: Classes[AbstractFormat], footprint: Footprint
) -> NoReturn:
    floors = [floor for floor in least.values() if floor is not None]
    ways = [f"{floor.said} (most of it: {floor.made_of(classes, footprint) or 'nothing'})" for floor in floors]
    hint = f"Under the others it would take {' or '.join(ways)}" if ways else "Raise one of them"
    msg = f"no plan keeps together: {'; '.join([*(limit.text for limit in least), *counts])}. {hint}, or add smaller formats"
    limits = [
        {"kind": limit.budget.kind.value, "pool": limit.budget.pool, "limit": limit.budget.value, "smallest_feasible": None}
        if floor is None
        else below(floor, classes)
        for limit, floor in least.items()
    ]
    raise BudgetConflictError(msg, limits=limits, counts=list(counts))


def _least_beside(limit: Limit, limits: Limits, counts: Sequence[Row], stop: solvers.Deadline) -> Floor | None:
    """What a limit needs room for under all the others; ``None`` if no room helps or it is unknown."""
    others = [*(other.row for other in limits if other is not limit), *counts]
    found = _least(limits.classes, limit.row, others, stop)
    return Floor(limit, int(found.sizes[0]), found.choice) if found.status in DECIDED else None


def _smallest_set(classes: Classes[AbstractFormat], rows: Sequence[Row], stop: solvers.Deadline) -> list[Row]:
    kept = list(rows)
    for row in rows:
        rest = [other for other in kept if other is not row]
        if len(kept) == 1 or stop.passed():
            break
        if not _can_be_kept(classes, rest, stop):
            kept = rest
    return kept


def _can_be_kept(classes: Classes[AbstractFormat], rows: Sequence[Row], stop: solvers.Deadline) -> bool:
    """Whether some assignment keeps all rows, or it is unknown."""
    found = _least(classes, rows[0], rows[1:], stop)
    return found.status is not solvers.Status.INFEASIBLE and found.lower_bound <= rows[0].limit


def _least(classes: Classes[AbstractFormat], row: Row, others: Sequence[Row], stop: solvers.Deadline) -> solvers.Solution:
    """The assignment that takes least of a row and keeps the others: its units as the loss, exact in float64 below 2^53."""
    losses = np.where(classes.legal, row.table, np.inf)
    sizes = np.stack([row.table, *(other.table for other in others)])
    budgets = np.array([row.most(classes.legal), *(clamped(other.limit) for other in others)], dtype=np.int64)
    solver = solvers.Mckp() if len(others) <= 1 else SEVERAL_LIMITS
    return solvers.solve(solvers.Problem(losses, sizes, budgets), solver, deadline=stop.remaining())
