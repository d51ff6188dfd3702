"""Seeds: within the budgets, the caller's plans checked, lowered or refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import HullGreedy, Mckp, Problem, Uniform, solve
from solvers.errors import SettingError, UnsupportedProblemError
from solvers.evolutionary import Allowance, Evolutionary
from solvers.evolutionary.seeds import collect_seeds, lower_into_budgets
from solvers.problem import total_sizes
from solvers.side_rules import CountRule
from solvers.solver import Deadline
from tests.solvers.evolutionary.landscapes import several_budgets
from tests.solvers.instances import SIZES, curves, one_budget

NONE = Allowance(generations=0)


def test_solvers_of_the_table_and_plans_of_the_caller_are_seeds_once_each() -> None:
    problem = curves(20, 8, seed=0)
    uniform = solve(problem, Uniform()).choice
    plan = tuple(solve(problem, HullGreedy()).choice.tolist())
    seeds = collect_seeds(problem, (Mckp(), Uniform()), [plan, tuple(uniform.tolist())], Deadline())
    assert [seed.name for seed in seeds.starts] == ["Mckp", "Uniform", "plan 0"]
    assert seeds.multipliers is not None
    assert seeds.multipliers.tolist() == solve(problem, Mckp()).multipliers.tolist()


def test_an_infeasible_plan_is_lowered_and_nothing_rises() -> None:
    problem = curves(20, 8, seed=1)
    plan = np.full(20, 7)
    found = Evolutionary(seeders=(), plans=(tuple(plan.tolist()),), allowance=NONE).search(problem)
    assert found.origin == "plan 0, lowered"
    assert total_sizes(problem, found.choice)[0] <= problem.budgets[0]
    assert (found.choice <= plan).all()
    assert found.fitness <= 1.1 * solve(problem, HullGreedy()).loss


@settings(max_examples=80)
@given(st.integers(0, 10**6), st.sampled_from(sorted(SIZES)))
def test_one_budget_can_always_be_reached_by_lowering(seed: int, sizes: str) -> None:
    rng = np.random.default_rng(seed)
    size = SIZES[sizes](rng, (6, 4))
    smallest = int(size.min(axis=1).sum())
    problem = one_budget(rng.normal(size=(6, 4)), size, smallest + int(rng.integers(0, 2)) * int(rng.integers(0, 10)))
    lowered = lower_into_budgets(problem, size.argmax(axis=1))
    assert lowered is not None
    assert total_sizes(problem, lowered)[0] <= problem.budgets[0]


@pytest.mark.parametrize("rows", [2, 3])
def test_several_budgets_find_a_start(rows: int) -> None:
    """Not always, but on most of these."""
    found = [
        lower_into_budgets(problem, problem.loss.argmin(axis=1)) for problem in (several_budgets(s, rows=rows) for s in range(40))
    ]
    assert sum(choice is not None for choice in found) >= 30


def test_plans_that_are_none_are_refused_with_the_reason() -> None:
    loss = np.array([[1.0, np.inf], [2.0, 1.0]])
    problem = one_budget(loss, np.array([[1, 2], [1, 2]]), 4)
    for plan, reason in (
        ((0,), "give 2 whole numbers"),
        ((0.5, 1.0), "give 2 whole numbers"),
        ((0, 2), r"items are 0\.\.1"),
        ((0, -1), r"items are 0\.\.1"),
        ((1, 0), "whose loss is inf"),
    ):
        with pytest.raises(SettingError, match=reason):
            Evolutionary(plans=(plan,), allowance=NONE).search(problem)  # type: ignore[arg-type]


def test_no_start_at_all_is_said() -> None:
    sizes = np.array([[[0, 4]], [[4, 0]]])
    problem = Problem(np.array([[1.0, 2.0]]), sizes, np.array([3, 3]))
    with pytest.raises(UnsupportedProblemError, match="hand in a plan"):
        Evolutionary().search(problem)
    with pytest.raises(SettingError, match="cannot be lowered"):
        Evolutionary(plans=((0,),)).search(problem)
    joint = solve(problem, Evolutionary())
    assert joint.choice.size == 0
    assert "plan" in joint.reason


def test_a_problem_with_side_rules_is_not_taken() -> None:
    rule = CountRule(np.ones((2, 2), dtype=bool), at_most=1)
    problem = Problem(np.zeros((2, 2)), np.ones((1, 2, 2), dtype=np.int64), np.array([2]), rules=(rule,))
    with pytest.raises(UnsupportedProblemError, match="side rules"):
        Evolutionary().search(problem)
