"""Several plans that differ: the best, and then the best far enough from all before."""

from dataclasses import replace

from solvers.driver import solve
from solvers.errors import SettingError
from solvers.problem import Problem
from solvers.side_rules import DistanceRule
from solvers.solution import Solution, Status
from solvers.solver import AbstractSolver


def diverse(
    problem: Problem, solver: AbstractSolver, count: int, least_distance: int, *, deadline: float | None = None
) -> list[Solution]:
    """Up to ``count`` choices, any two of which differ in at least ``least_distance`` classes, by no-good cuts.

    The first is the best of all, each one more the best that keeps its distance from those before it. Losses do not fall
    along the list; where a limit ended a solve and a later one found better, it is put in its place by its loss.

    Args:
        problem: what to solve; its own rules stay.
        solver: one that takes side rules, ``Ilp()``.
        count: how many at most, ≥ 1; fewer come back when no more exist or none is found within the solver's limits.
        least_distance: number of classes, ≥ 1.
        deadline: wall seconds for each of them.

    Raises:
        SettingError: a count or a distance below 1.
        UnsupportedProblemError: a solver that takes no side rules.
    """
    if count < 1 or least_distance < 1:
        msg = f"{count} choices at distance {least_distance} cannot be looked for; give one or more of each"
        raise SettingError(msg)
    found: list[Solution] = []
    while len(found) < count:
        rules = (*problem.rules, *(DistanceRule(other.choice, least_distance) for other in found))
        solution = solve(replace(problem, rules=rules), solver, deadline=deadline)
        if solution.status in (Status.INFEASIBLE, Status.FAILED):
            break
        found.append(solution)
    return sorted(found, key=lambda solution: solution.loss)
