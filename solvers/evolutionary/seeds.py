"""The choices that a search starts from, all within the budgets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.driver import find_unsupported, solve
from solvers.errors import SettingError
from solvers.problem import LARGEST_SIZE, Problem, chosen_losses, total_sizes
from solvers.solution import Solution
from solvers.solver import AbstractSolver, Deadline

LARGEST_EXPONENT = 80.0  # of the price that lowers a plan into the budgets, a power of two
HALVINGS = 60  # of that exponent
ROUNDS = 40  # of weighing up the rows that stay over their budget
WEIGHED_UP = 0.25  # of the largest weight


@dataclass(frozen=True, slots=True, eq=False)
class Seed:
    """A start.

    Attributes:
        name: where it comes from.
        choice: int64 ``[N]``, within the budgets.
    """

    name: str
    choice: Integers


@dataclass(frozen=True, slots=True, eq=False)
class Seeds:
    """All starts, without repeats.

    Attributes:
        starts: in their order; empty when nothing within the budgets was found.
        multipliers: float64 ``[R]``, of the seeding solver with the greatest bound; ``None`` when none had any.
    """

    starts: tuple[Seed, ...]
    multipliers: Floats | None


def collect_seeds(
    problem: Problem, solvers: Sequence[AbstractSolver], plans: Sequence[Sequence[int]], deadline: Deadline
) -> Seeds:
    """What the solvers that take the problem choose on its table, then the plans of the caller.

    A plan over a budget is lowered until it fits, at least predicted loss. When all this gives nothing, the choice of least
    loss is lowered in the same way.

    Raises:
        SettingError: a plan that is no choice of this problem, or that cannot be lowered into the budgets.
    """
    solutions = _solve_all(problem, solvers, deadline)
    starts = [Seed(name, solution.choice) for name, solution in solutions if solution.choice.size]
    starts += [_seed_of_plan(problem, number, plan) for number, plan in enumerate(plans)]
    if not starts:
        lowered = lower_into_budgets(problem, problem.loss.argmin(axis=1))
        starts = [] if lowered is None else [Seed("least loss, lowered", lowered)]
    distinct = {start.choice.tobytes(): start for start in reversed(starts)}
    bounds = [solution for _, solution in solutions if solution.choice.size]
    best = max(bounds, key=lambda solution: solution.stats.lagrangian_bound, default=None)
    kept = tuple(start for start in starts if distinct[start.choice.tobytes()] is start)
    return Seeds(kept, None if best is None else best.multipliers)


def _solve_all(problem: Problem, solvers: Sequence[AbstractSolver], deadline: Deadline) -> list[tuple[str, Solution]]:
    solutions = []
    for solver in solvers:
        if find_unsupported(problem, solver) is None and solver.refusal(problem) is None:
            left = deadline.remaining()
            solution = solve(problem, solver, deadline=left if left < np.inf else None)
            solutions.append((type(solver).__name__, solution))
    return solutions


def _seed_of_plan(problem: Problem, number: int, plan: Sequence[int]) -> Seed:
    choice = np.asarray(plan)
    if choice.shape != (problem.classes,) or choice.dtype.kind not in "iu":
        msg = f"plan {number} has shape {choice.shape} and dtype {choice.dtype}; give {problem.classes} whole numbers"
        raise SettingError(msg)
    choice = choice.astype(np.int64)
    outside = (choice < 0) | (choice >= problem.items)
    if outside.any():
        i = int(outside.argmax())
        msg = f"plan {number} takes item {choice[i]} of class {i}; items are 0..{problem.items - 1}"
        raise SettingError(msg)
    forbidden = ~np.isfinite(chosen_losses(problem, choice))
    if forbidden.any():
        i = int(forbidden.argmax())
        msg = f"plan {number} takes item {choice[i]} of class {i}, whose loss is inf; take an allowed item"
        raise SettingError(msg)
    if (total_sizes(problem, choice) <= problem.budgets).all():
        return Seed(f"plan {number}", choice)
    lowered = lower_into_budgets(problem, choice)
    if lowered is None:
        sizes = total_sizes(problem, choice).tolist()
        msg = f"plan {number} has sizes {sizes} over the budgets {problem.budgets.tolist()} and cannot be lowered into them"
        raise SettingError(msg)
    return Seed(f"plan {number}, lowered", lowered)


def lower_into_budgets(problem: Problem, choice: Integers) -> Integers | None:
    """The choice with some classes lowered until every budget holds; ``None`` when that was not found.

    Every class takes the least of ``added loss + price·size``; the smallest price that is enough, by bisection. With one
    budget a fitting price exists wherever a fitting choice does. With more, sizes are shares of the budgets, weighted: rows
    that even the highest price leaves over their budget are weighted up, for some rounds. ``O(R·N·K)`` for each of 60 prices.
    """
    budgets = np.maximum(problem.budgets, 1)
    over = total_sizes(problem, choice) > problem.budgets
    if not over.any():
        return choice
    weights = over / budgets
    for _ in range(ROUNDS):
        prices = _Prices.of(problem, choice, weights)
        smallest = prices.smallest()
        over = total_sizes(problem, smallest) > problem.budgets
        if not over.any():
            return _cheapest_price(problem, prices, smallest)
        weights += over * (weights.max() * WEIGHED_UP)
    return None


@dataclass(frozen=True, slots=True, eq=False)
class _Prices:
    """What classes may take, with their added loss and their weighted size as shares of the largest of each."""

    usable: NDArray[np.bool_]
    added: Floats
    size: Floats
    exact: Integers | None

    @classmethod
    def of(cls, problem: Problem, choice: Integers, weights: Floats) -> "_Prices":
        alone = weights.shape[0] == 1
        here = problem.sizes[:, np.arange(problem.classes), choice]
        usable = problem.allowed() & (alone <= (problem.sizes <= here[:, :, None]).all(axis=0))
        added = (problem.loss - chosen_losses(problem, choice)[:, None]).clip(min=0.0)
        size = np.tensordot(weights, problem.sizes, 1)
        tiny = np.finfo(float).tiny
        added /= max(float(added[usable].max(initial=0.0)), tiny)
        size /= max(float(size[usable].max(initial=0.0)), tiny)
        return cls(usable, np.where(usable, added, np.inf), size, problem.sizes[0] if alone else None)

    def smallest(self) -> Integers:
        """As for an infinite price; of one row in exact whole numbers."""
        if self.exact is None:
            return self.at(LARGEST_EXPONENT)
        least: Integers = np.where(self.usable, self.exact, LARGEST_SIZE).argmin(axis=1)
        return least

    def at(self, exponent: float) -> Integers:
        """For a price of two to this power."""
        priced: Integers = (self.added + 2.0**exponent * self.size).argmin(axis=1)
        return priced


def _cheapest_price(problem: Problem, prices: _Prices, found: Integers) -> Integers:
    low, high = -LARGEST_EXPONENT, LARGEST_EXPONENT
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        candidate = prices.at(middle)
        if (total_sizes(problem, candidate) <= problem.budgets).all():
            high, found = middle, candidate
        else:
            low = middle
    return found
