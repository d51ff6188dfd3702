"""One set of losses and sizes under many budgets: what is made once gives the answers of a problem made anew."""

import numpy as np
import pytest

from solvers import Mckp, Problem, Status, solve
from solvers.arrays import Floats
from solvers.errors import ProblemError
from solvers.mckp.descent import find_dual
from solvers.mckp.dual import solve_dual
from solvers.mckp.excess import measure_excess
from tests.solvers.instances import LOSSES, SIZES, curves, tiny_problem

PROBLEMS = [
    curves(60, 8, seed=1),
    curves(40, 5, seed=2, equal_sizes=True),
    *(
        tiny_problem(seed, losses=losses, sizes=sizes, forbid=seed == 1)
        for seed in (0, 1)
        for losses in LOSSES
        for sizes in SIZES
    ),
]


def _budgets(problem: Problem) -> list[int]:
    """From the smallest plan to above the largest one."""
    least = int(problem.smallest_sizes()[0])
    most = int(np.where(problem.allowed(), problem.sizes[0], 0).max(axis=1).sum())
    return [least, *(least + (most - least) * part // 7 for part in range(1, 7)), most, most + 1]


def test_other_budgets_have_the_answers_of_a_problem_made_anew() -> None:
    for problem in PROBLEMS:
        for budget in _budgets(problem):
            shared, anew = solve(problem.with_budgets([budget]), Mckp()), solve(replaced(problem, budget), Mckp())
            assert shared.choice.tolist() == anew.choice.tolist()
            assert shared.multipliers.tolist() == anew.multipliers.tolist()
            assert (shared.status, shared.loss, shared.lower_bound) == (anew.status, anew.loss, anew.lower_bound)
            assert (shared.stats.lagrangian_bound, shared.stats.states) == (anew.stats.lagrangian_bound, anew.stats.states)


def replaced(problem: Problem, budget: int) -> Problem:
    """A problem of its own, which shares nothing."""
    return Problem(problem.loss, problem.sizes, np.array([budget]))


def test_steps_break_where_kelley_breaks() -> None:
    """Where several choices tie the choice may differ; the bound may not, and where the rates differ nothing does."""
    clear = 0
    for problem in PROBLEMS:
        for budget in _budgets(problem):
            other = problem.with_budgets([budget])
            excess = measure_excess(other)
            steps, kelley = find_dual(other, excess), solve_dual(excess)
            height = [_height(excess.loss, excess.size, dual.multiplier, excess.capacity) for dual in (steps, kelley)]
            assert height[0] == pytest.approx(height[1], rel=1e-12)
            clear += steps.multiplier == kelley.multiplier and steps.choice.tolist() == kelley.choice.tolist()
    assert clear > 0.9 * sum(len(_budgets(problem)) for problem in PROBLEMS)


def _height(loss: Floats, size: Floats, multiplier: float, capacity: int) -> float:
    return float((loss + multiplier * size).min(axis=0).sum() - multiplier * capacity)


def test_a_budget_below_the_smallest_is_refused_as_ever() -> None:
    problem = PROBLEMS[0]
    assert solve(problem.with_budgets(problem.smallest_sizes() - 1), Mckp()).status is Status.INFEASIBLE


def test_other_budgets_are_checked_and_leave_the_problem_alone() -> None:
    problem = PROBLEMS[0]
    given, asked = problem.budgets.tolist(), np.array([5])
    other = problem.with_budgets(asked)
    asked[0] = 7
    assert (problem.budgets.tolist(), other.budgets.tolist()) == (given, [5])
    assert other.loss is problem.loss
    with pytest.raises(ProblemError, match="each of the 1 rows"):
        problem.with_budgets([1, 2])
    with pytest.raises(ProblemError, match="whole numbers"):
        problem.with_budgets([1.5])
