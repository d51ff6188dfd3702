"""The same budgets, each solved to proven optimality."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solvers.arrays import Integers
from solvers.driver import solve
from solvers.frontiers.hull_frontier import Frontier, frontier, relative_gaps
from solvers.mckp import Mckp
from solvers.problem import Problem
from solvers.solution import Solution, Status
from solvers.solver import AbstractSolver, Deadline

DEFAULT = Mckp()


def proved(problem: Problem, budgets: ArrayLike, *, solver: AbstractSolver = DEFAULT, deadline: float | None = None) -> Frontier:
    """A frontier whose gaps the solver has closed, from the largest budget down.

    What is known already is not solved again: a budget whose gap is 0, and one that the optimum of a larger budget keeps. The
    bound of a larger budget holds for a smaller one, and the choice of a smaller one serves a larger, so that losses and bounds
    never rise with the budget even where a limit ends a solve.

    Args:
        problem: one row of sizes; its own budget is not read.
        budgets: whole numbers ``[B]``, in any order.
        solver: of one budget; its answers are certified by ``solve``.
        deadline: wall seconds from now; budgets whose turn comes later keep what one pass over the hulls has found.

    Returns:
        The frontier. A gap of 0 says that the loss is proven optimal, and the bound is then the loss itself: the multipliers
        price a budget still, but no longer recompute its bound.

    Raises:
        UnsupportedProblemError: several rows of sizes, side rules, an interaction, or a problem that the solver does not take.
        SettingError: budgets that are not a list of whole numbers, or a negative deadline.
    """
    stop = Deadline.after(deadline)
    start = frontier(problem, budgets)
    order = np.argsort(start.budgets, kind="stable")
    order = order[start.feasible[order]]
    points = [_Point(start, j) for j in order.tolist()]
    larger = None
    for point in reversed(points):
        _close(problem, larger, point, solver, stop)
        larger = point
    for smaller, point in pairwise(points):
        point.use(smaller)
    return _with_points(start, order, points)


@dataclass(slots=True, init=False, eq=False)
class _Point:
    """What is known about one budget."""

    budget: int
    loss: float
    bound: float
    size: int
    choice: NDArray[np.signedinteger]

    def __init__(self, start: Frontier, j: int) -> None:
        self.budget, self.size = int(start.budgets[j]), int(start.sizes[j])
        self.loss, self.bound, self.choice = float(start.losses[j]), float(start.bounds[j]), start.choices[j]

    def use(self, other: "_Point") -> None:
        """Take the choice of another budget where it fits and loses less."""
        if other.size <= self.budget and other.loss < self.loss:
            self.loss, self.size, self.choice = other.loss, other.size, other.choice
            self.bound = min(self.bound, self.loss)  # two sums of one choice may differ in the last digit

    def learn(self, solution: Solution) -> None:
        """Take what a solve has found and proved."""
        if solution.choice.size == 0:
            return
        if solution.loss < self.loss or solution.status is Status.OPTIMAL:
            self.loss, self.size, self.choice = solution.loss, int(solution.sizes[0]), solution.choice
        self.bound = min(max(self.bound, solution.lower_bound), self.loss)


def _close(problem: Problem, larger: "_Point | None", point: _Point, solver: AbstractSolver, stop: Deadline) -> None:
    """Bring loss and bound of a point together, at first by what a larger budget knows."""
    if larger is not None:
        point.use(larger)
        point.bound = min(max(point.bound, larger.bound), point.loss)
    if point.loss > point.bound and not stop.passed():
        limit = None if np.isinf(stop.remaining()) else stop.remaining()
        point.learn(solve(replace(problem, budgets=np.array([point.budget])), solver, deadline=limit))


def _with_points(start: Frontier, order: Integers, points: list[_Point]) -> Frontier:
    losses, bounds, sizes, choices = start.losses.copy(), start.bounds.copy(), start.sizes.copy(), start.choices.copy()
    gaps = start.gaps.copy()
    losses[order] = [point.loss for point in points]
    bounds[order] = [point.bound for point in points]
    gaps[order] = relative_gaps(losses[order], losses[order] - bounds[order])
    sizes[order] = [point.size for point in points]
    for j, point in zip(order.tolist(), points, strict=True):
        choices[j] = point.choice
    return replace(start, losses=losses, bounds=bounds, gaps=gaps, sizes=sizes, choices=choices)
