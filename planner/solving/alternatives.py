"""Next-best plans that differ from the plan, and from each other, in at least so many layers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import solvers
from planner.build import Classes, GroupCurves
from planner.errors import PlannerError
from planner.solving.counts import distance_row
from planner.solving.plan import Solved, solve_plan
from planner.solving.rows import Row
from sensitivity.formats.abstract import AbstractFormat


@dataclass(frozen=True, slots=True, eq=False)
class Alternative:
    """Another plan.

    Attributes:
        solved: the plan; its bound says that none as far from the plan and the alternatives before it is better.
        layers: indices of the layers whose format is another than the plan's.
    """

    solved: Solved
    layers: tuple[int, ...]


def next_best(
    classes: Classes[AbstractFormat],
    curves: GroupCurves,
    best: Solved,
    *,
    count: int,
    layers: int,
    rows: Sequence[Row] = (),
    caution: float = 0.0,
    stop: solvers.Deadline,
) -> list[Alternative]:
    """Up to ``count`` alternatives, each the best at its distance from all before; fewer where no more exist or time ran out.

    By their objective, the best first: with caution, or after the deadline, a later one may be better than one before.

    Args:
        classes: layer groups.
        curves: their losses.
        best: the plan.
        count: how many at most.
        layers: how many layers must differ, ≥ 1.
        rows: limits to keep besides the budget.
        caution: as the plan's.
        stop: limit of all of them together.
    """
    found: list[Alternative] = []
    kept = [*rows, distance_row(best.proved.choice, classes, layers)]
    while len(found) < count and not stop.passed():
        try:
            solved = solve_plan(classes, curves, best.budget_bits, deadline=stop.remaining(), rows=kept, caution=caution)
        except PlannerError:  # no more exist, or none was found in time
            break
        changed = solved.proved.choice != best.proved.choice
        found.append(Alternative(solved, tuple(np.flatnonzero(changed[classes.group_of_layer]).tolist())))
        kept.append(distance_row(solved.proved.choice, classes, layers))
    return sorted(found, key=lambda other: other.solved.proved.objective)
