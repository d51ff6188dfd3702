"""Every budget from one sort: LP bounds, multipliers and feasible choices for many budgets at once."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solvers.arrays import Floats, Integers
from solvers.errors import SettingError
from solvers.frontiers.checks import refuse_more_than_one_row, whole_budgets
from solvers.frontiers.plans import Plans, keep_monotone, least_loss, spend_rest, take_in_order
from solvers.hulls.hull import find_hulls, walk_hulls
from solvers.problem import Problem

VANISHING = -800  # binary exponent of the largest loss below which losses are scaled


@dataclass(frozen=True, slots=True, eq=False)
class Frontier:
    """One choice and one bound for each budget, in the order in which the budgets were given.

    Attributes:
        budgets: int64 ``[B]``.
        floor: the smallest feasible budget.
        losses: float64 ``[B]``; ``inf`` where the budget is below the floor. Never larger for a larger budget.
        sizes: int64 ``[B]``, exact totals; 0 below the floor.
        bounds: float64 ``[B]``: no choice within the budget has a smaller loss; ``inf`` below the floor.
        gaps: float64 ``[B]``, (loss − bound)/|loss|; 0 when both are equal, ``inf`` below the floor.
        multipliers: float64 ``[B]``, loss per unit of size at the LP optimum; 0 where the budget binds nothing.
        choices: ``[B, N]``, the item of every class, in the smallest signed integers that hold it; −1 below the floor.
    """

    budgets: Integers
    floor: int
    losses: Floats
    sizes: Integers
    bounds: Floats
    gaps: Floats
    multipliers: Floats
    choices: NDArray[np.signedinteger]

    def __post_init__(self) -> None:
        for name in ("budgets", "losses", "sizes", "bounds", "gaps", "multipliers", "choices"):
            getattr(self, name).setflags(write=False)

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """Which budgets can be kept, bool ``[B]``."""
        return self.budgets >= self.floor

    def choice(self, j: int) -> Integers:
        """The item of every class under budget ``j``, int64 ``[N]``.

        Raises:
            SettingError: the budget is below the floor.
        """
        if self.budgets[j] < self.floor:
            msg = f"budget {self.budgets[j]} is below {self.floor}, the sum of the smallest allowed items; give that at least"
            raise SettingError(msg)
        row: Integers = self.choices[j].astype(np.int64)
        return row


@dataclass(frozen=True, slots=True, eq=False)
class Breakpoints:
    """The corners of the LP frontier, from the smallest size to the least loss; each is a choice of whole items.

    Attributes:
        sizes: int64 ``[S+1]``, rising.
        losses: float64 ``[S+1]``, falling; no choice of that size or less has a smaller loss.
        multipliers: float64 ``[S]``, loss saved per unit of size between two neighbours, never rising.
    """

    sizes: Integers
    losses: Floats
    multipliers: Floats


def frontier(problem: Problem, budgets: ArrayLike) -> Frontier:
    """Bounds and choices for all budgets from one pass over the classes and one coarse sort of all hull steps.

    Steps along the hulls are taken in the order of their rates until one does not fit (Sinha and Zoltners 1979); the rate of
    that step is the multiplier of the LP optimum. What is left of the budget goes to the later steps that save most and fit.
    The gap is Σ reduced costs + λ·slack. Anybody can recompute a bound from its multiplier λ:
    ``(problem.loss + λ * problem.sizes[0]).min(axis=1).sum() - λ * budget``. ``Mckp`` closes the gap, a budget at a time.

    Args:
        problem: one row of sizes; its own budget is not read.
        budgets: whole numbers ``[B]``, in any order.

    Raises:
        UnsupportedProblemError: several rows of sizes, side rules or an interaction.
        SettingError: budgets that are not a list of whole numbers.
    """
    refuse_more_than_one_row(problem)
    whole = whole_budgets(budgets)
    exponent = _vanishing_exponent(problem)
    return _frontier(problem, whole) if exponent == 0 else _frontier_of_scaled(problem, whole, exponent)


def _vanishing_exponent(problem: Problem) -> int:
    """Power of two to divide by where losses are so small that their multipliers would be 0; else 0."""
    loss = problem.loss if problem.all_allowed else np.where(problem.allowed(), problem.loss, 0.0)
    largest = float(max(loss.max(initial=0.0), -loss.min(initial=0.0)))
    exponent = int(np.frexp(largest)[1])
    return exponent if largest > 0 and exponent < VANISHING else 0


def _frontier_of_scaled(problem: Problem, whole: Integers, exponent: int) -> Frontier:
    found = _frontier(replace(problem, loss=np.ldexp(problem.loss, -exponent)), whole)
    losses, bounds, multipliers = (np.ldexp(part, exponent) for part in (found.losses, found.bounds, found.multipliers))
    return replace(found, losses=losses, bounds=bounds, multipliers=multipliers)


def _frontier(problem: Problem, whole: Integers) -> Frontier:
    grid = find_hulls(problem)
    floor = int(problem.smallest_sizes()[0])
    order = np.argsort(whole, kind="stable")
    order = order[whole[order] >= floor]
    plans = take_in_order(grid, whole[order] - floor, least_loss(problem))
    spend_rest(plans)
    keep_monotone(plans)
    return _in_given_order(plans, whole, floor, order)


def breakpoints(problem: Problem) -> Breakpoints:
    """All corners of the LP frontier, each with its exact size.

    Args:
        problem: one row of sizes; its own budget is not read.

    Raises:
        UnsupportedProblemError: several rows of sizes, side rules or an interaction.
    """
    refuse_more_than_one_row(problem)
    steps = walk_hulls(problem)
    sizes = np.cumsum(np.insert(steps.grown, 0, problem.smallest_sizes()[0]))
    losses = np.cumsum(np.append(steps.saved, least_loss(problem))[::-1])[::-1]
    return Breakpoints(sizes, losses, steps.value(slice(None)))


def even_budgets(problem: Problem, count: int) -> Integers:
    """Budgets at equal distances, from the smallest feasible one to the first that binds nothing.

    Args:
        problem: one row of sizes; its own budget is not read.
        count: how many, at least 1; one alone is the largest.

    Returns:
        int64 ``[count]``, rising.

    Raises:
        UnsupportedProblemError: several rows of sizes, side rules or an interaction.
        SettingError: a count below 1.
    """
    refuse_more_than_one_row(problem)
    if count < 1:
        msg = f"{count} budgets make no frontier; give a count of 1 at least"
        raise SettingError(msg)
    low = int(problem.smallest_sizes()[0])
    best = problem.loss == problem.loss.T.min(axis=0, initial=np.inf)[:, None]
    high = int(np.where(best, problem.sizes[0], np.iinfo(np.int64).max).min(axis=1).sum()) if problem.classes else low
    if count == 1:
        return np.array([high])
    return np.array([low + (high - low) * j // (count - 1) for j in range(count)])


def relative_gaps(losses: Floats, gaps: Floats) -> Floats:
    """gap/|loss|; 0 where the gap is 0, ``inf`` where only the loss is 0."""
    size = np.abs(losses)
    relative = np.divide(gaps, size, out=np.full(gaps.shape, np.inf), where=size > 0)
    return np.where(gaps == 0, 0.0, relative)


def _in_given_order(plans: Plans, budgets: Integers, floor: int, order: Integers) -> Frontier:
    count = budgets.shape[0]
    losses, bounds, gaps = np.full(count, np.inf), np.full(count, np.inf), np.full(count, np.inf)
    sizes, multipliers, choices = np.zeros(count, dtype=np.int64), np.zeros(count), plans.choices
    gap = plans.cost + plans.multiplier * plans.slack
    losses[order], bounds[order], gaps[order] = plans.loss, plans.loss - gap, relative_gaps(plans.loss, gap)
    sizes[order], multipliers[order] = plans.room - plans.slack + floor, plans.multiplier
    if not np.array_equal(order, np.arange(count)):
        choices = np.full((count, plans.choices.shape[1]), -1, dtype=plans.choices.dtype)
        choices[order] = plans.choices
    return Frontier(budgets, floor, losses, sizes, bounds, gaps, multipliers, choices)
