"""The convex relaxation against HiGHS, enumeration, cvxpy's own model and the closed form."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.sparse import csr_array

from solvers import BruteForce, CountRule, Mckp, Problem, SettingError, Status, UnsupportedProblemError, solve
from solvers.convex.cones import Outcome, solve_relaxation
from solvers.convex.rounding import search_feasible
from solvers.convex.solver import Convex, RobustPlan, robust_plan
from solvers.solver import Deadline
from tests.solvers.contract import SolverContract, recomputed_bound, scale_of
from tests.solvers.instances import LOSSES, SIZES, budget_at, curves, one_budget, tiny_problem


class TestConvex(SolverContract):
    solver = Convex()
    exact = False


def opposed(classes: int, items: int, *, seed: int, rows: int = 2, share: float = 0.45) -> Problem:
    """Memory that rises with the bits, and rows that fall or follow loosely, cut below what the others would use: all bind."""
    problem = curves(classes, items, seed=seed, share=share)
    rng = np.random.default_rng([seed, rows])
    for r in range(1, rows):
        turned = problem.sizes[0] if r % 2 == 0 else problem.sizes[0].max(axis=1, keepdims=True) - problem.sizes[0]
        size = np.rint(turned * np.exp(rng.normal(0, 0.5, turned.shape)) / 1e3).astype(np.int64)
        used, least = int(size[np.arange(classes), solve(problem, Convex()).choice].sum()), int(size.min(axis=1).sum())
        budgets = np.append(problem.budgets, least + (used - least) * 9 // 10)
        problem = Problem(problem.loss, np.concatenate((problem.sizes, size[None])), budgets)
    return problem


def linear_program(problem: Problem) -> float:
    """Optimum of the LP relaxation by HiGHS, in the units of the problem."""
    classes, items = problem.loss.shape
    one_each = csr_array((np.ones(classes * items), (np.repeat(np.arange(classes), items), np.arange(classes * items))))
    scale = 1e4 / problem.loss.min(axis=1).sum()
    result = linprog(
        problem.loss.ravel() * scale,
        A_ub=problem.sizes.reshape(len(problem.budgets), -1) / problem.budgets[:, None],
        b_ub=np.ones(len(problem.budgets)),
        A_eq=one_each,
        b_eq=np.ones(classes),
        bounds=(0, None),
    )
    assert result.status == 0
    optimum: float = result.fun / scale
    return optimum


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_bound_is_that_of_the_linear_program(rows: int, seed: int) -> None:
    problem = opposed(60, 6, seed=seed, rows=rows)
    solution = solve(problem, Convex())
    assert solution.status is Status.FEASIBLE
    assert solution.stats.lagrangian_bound == pytest.approx(linear_program(problem), rel=1e-8)
    assert solution.stats.lagrangian_bound == pytest.approx(recomputed_bound(problem, solution), rel=1e-9)
    assert (solution.sizes <= problem.budgets).all()
    assert (solution.multipliers > 0).sum() >= min(rows, 3)
    assert solution.gap < 0.1


def test_one_budget_has_the_multiplier_of_the_exact_dual() -> None:
    problem = curves(224, 8, seed=3)
    convex, exact = solve(problem, Convex()), solve(problem, Mckp())
    assert convex.multipliers == pytest.approx(exact.multipliers, rel=1e-6)
    assert exact.loss <= convex.loss < exact.loss * 1.005


@pytest.mark.parametrize("losses", LOSSES)
@pytest.mark.parametrize("rows", [2, 3])
def test_several_budgets_against_brute_force(losses: str, rows: int) -> None:
    """Feasible where anything is, and bounded from below; rounding may miss a corner case, but seldom."""
    missed = 0
    for seed in range(12):
        problem = many_rows(seed, losses=losses, rows=rows)
        ours, judge = solve(problem, Convex()), solve(problem, BruteForce())
        if judge.status is not Status.OPTIMAL:
            assert ours.status in (Status.INFEASIBLE, Status.FAILED)
        elif ours.status is Status.FAILED:
            missed += 1
        else:
            assert ours.choice.size
            tolerance = 1e-12 * scale_of(problem)
            assert ours.lower_bound - tolerance <= judge.loss <= ours.loss + tolerance
    assert missed == 0


def many_rows(seed: int, *, losses: str, rows: int) -> Problem:
    rng = np.random.default_rng([seed, rows])
    kinds = list(SIZES)
    shape = (int(rng.integers(1, 6)), int(rng.integers(1, 5)))
    loss = np.asarray(LOSSES[losses](rng, shape), dtype=np.float64)
    if seed % 2:
        loss[:, 1:][rng.random((shape[0], shape[1] - 1)) < 0.3] = np.inf
    sizes = np.stack([SIZES[kinds[int(rng.integers(0, len(kinds)))]](rng, shape) for _ in range(rows)])
    budgets = [budget_at(loss, size, float(rng.choice([0.0, 0.2, 0.5, 0.8]))) for size in sizes]
    return Problem(loss, sizes, np.array(budgets))


def test_jointly_infeasible_budgets_are_proved_so() -> None:
    """Each row alone can be kept, both together cannot, not even in fractions."""
    sizes = np.array([[[0, 2], [0, 2]], [[2, 0], [2, 0]]])
    solution = solve(Problem(np.zeros((2, 2)), sizes, np.array([1, 1])), Convex())
    assert solution.status is Status.INFEASIBLE
    assert "together" in solution.reason


def test_feasible_in_fractions_only_ends_without_a_plan() -> None:
    sizes = np.array([[[0, 2]], [[2, 0]]])
    solution = solve(Problem(np.zeros((1, 2)), sizes, np.array([1, 1])), Convex())
    assert solution.status in (Status.FAILED, Status.INFEASIBLE)
    assert solution.reason
    halves = solve(Problem(np.zeros((3, 2)), np.repeat(sizes, 3, axis=1), np.array([3, 3])), Convex())
    assert halves.status in (Status.FAILED, Status.INFEASIBLE)


def test_a_plan_that_repair_does_not_find_is_searched_for() -> None:
    rng = np.random.default_rng(1)
    sizes = rng.integers(0, 50, (2, 30, 4))
    problem = Problem(rng.random((30, 4)), sizes, sizes.min(axis=2).sum(axis=1) + np.array([150, 300]))
    found = search_feasible(problem, Deadline())
    assert found is not None
    assert (sizes[:, np.arange(30), found].sum(axis=1) <= problem.budgets).all()
    solution = solve(problem, Convex())
    assert solution.status is Status.FEASIBLE


def test_a_budget_exactly_at_the_floor_of_one_row() -> None:
    """No interior: the items that the row forbids are priced out afterwards, and the bound stays sharp."""
    problem = opposed(20, 5, seed=0)
    floor = int(problem.sizes[0].min(axis=1).sum())
    tight = Problem(problem.loss, problem.sizes, np.array([floor, int(problem.sizes[1].max(axis=1).sum())]))
    solution = solve(tight, Convex())
    assert solution.choice.tolist() == tight.sizes[0].argmin(axis=1).tolist()
    assert solution.gap < 1e-9


def test_large_ties_are_rounded_in_batches() -> None:
    """Every class alike: the interior point spreads every class, and repair takes many moves a round."""
    sizes = np.tile(np.array([[2, 3, 4]]), (3000, 1))[None] * np.array([64, 7])[:, None, None]
    problem = Problem(np.tile([16.0, 4.0, 1.0], (3000, 1)), sizes, np.array([64 * 8000, 7 * 8100]))
    solution = solve(problem, Convex())
    assert solution.loss == pytest.approx(2000 * 4 + 1000 * 16, rel=1e-12)
    assert solution.gap < 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1e-30, 1e30]), st.sampled_from([2, 1000]))
def test_property_units_change_no_bound(seed: int, loss_unit: float, size_unit: int) -> None:
    problem = tiny_problem(seed, losses="uniform", sizes="small", forbid=True)
    scaled = Problem(problem.loss * loss_unit, problem.sizes * size_unit, problem.budgets * size_unit)
    first, second = solve(problem, Convex()), solve(scaled, Convex())
    assert first.status is second.status
    if first.choice.size:
        bounds = first.stats.lagrangian_bound * loss_unit, second.stats.lagrangian_bound
        assert bounds[1] == pytest.approx(bounds[0], rel=1e-6, abs=1e-7 * scale_of(scaled))


def test_at_the_deadline_a_plan_with_an_honest_gap() -> None:
    problem = opposed(400, 8, seed=0)
    solution = solve(problem, Convex(), deadline=0)
    assert solution.status in (Status.LIMIT, Status.FAILED)
    if solution.choice.size:
        assert solution.lower_bound <= solution.loss
    assert solve_relaxation(problem, np.zeros(problem.loss.shape), Deadline.after(0)).outcome is Outcome.LIMIT


def errors_of(problem: Problem, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(np.where(problem.allowed(), np.abs(problem.loss), 0.0) * rng.uniform(0.05, 0.6, problem.loss.shape))


def robust_by_enumeration(problem: Problem, errors: np.ndarray, kappa: float) -> float:
    best = math.inf
    for number in range(problem.items**problem.classes):
        choice = np.array([number // problem.items**i % problem.items for i in range(problem.classes)])
        rows = np.arange(problem.classes)
        if (problem.sizes[:, rows, choice].sum(axis=1) <= problem.budgets).all():
            value = problem.loss[rows, choice].sum() + kappa * math.sqrt((errors[rows, choice] ** 2).sum())
            best = min(best, float(value))
    return best


def bound_of(problem: Problem, errors: np.ndarray, kappa: float, plan: RobustPlan) -> float:
    """The line of the docstring."""
    table = problem.loss + kappa * errors * plan.direction + np.tensordot(plan.multipliers, problem.sizes, 1)
    return float(table.min(axis=1).sum() - plan.multipliers @ problem.budgets)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kappa", [0.0, 0.5, 3.0])
def test_robust_plan_against_enumeration(seed: int, kappa: float) -> None:
    problem = opposed(5, 4, seed=seed, rows=1 + seed % 2, share=0.5)
    errors = errors_of(problem, seed)
    plan = robust_plan(problem, errors, kappa)
    best = robust_by_enumeration(problem, errors, kappa)
    if math.isinf(best):
        assert plan.status in (Status.INFEASIBLE, Status.FAILED)
        return
    assert plan.choice.size
    assert plan.lower_bound <= best * (1 + 1e-9)
    assert best <= plan.objective * (1 + 1e-12)
    assert np.linalg.norm(plan.direction) <= 1 + 1e-12
    assert plan.lower_bound == pytest.approx(bound_of(problem, errors, kappa, plan), rel=1e-9)
    assert plan.objective == pytest.approx(plan.loss + kappa * plan.spread)
    assert plan.spread == pytest.approx(np.sqrt((errors[np.arange(5), plan.choice] ** 2).sum()))


def test_robust_bound_is_the_optimum_of_the_cone_program() -> None:
    """The same relaxation modelled in cvxpy."""
    import cvxpy as cp

    problem = opposed(12, 4, seed=1)
    errors, kappa = errors_of(problem, 1), 1.5
    x = cp.Variable(problem.loss.shape, nonneg=True)
    objective = cp.sum(cp.multiply(problem.loss, x)) + kappa * cp.norm(cp.vec(cp.multiply(errors, x), order="F"))
    rows = [cp.sum(cp.multiply(size / budget, x)) <= 1 for size, budget in zip(problem.sizes, problem.budgets, strict=True)]
    model = cp.Problem(cp.Minimize(objective), [cp.sum(x, axis=1) == 1, *rows])
    model.solve(solver=cp.CLARABEL)
    assert robust_plan(problem, errors, kappa).lower_bound == pytest.approx(model.value, rel=1e-6)


def test_kappa_zero_is_the_plain_relaxation() -> None:
    problem = opposed(50, 5, seed=2)
    plan, plain = robust_plan(problem, errors_of(problem, 2), 0.0), solve(problem, Convex())
    assert plan.choice.tolist() == plain.choice.tolist()
    assert plan.lower_bound == pytest.approx(plain.lower_bound, rel=1e-9)


def test_a_robust_plan_leaves_the_cells_that_are_not_sure() -> None:
    """Two items lose alike, one of them with a large standard error."""
    problem = one_budget(np.array([[1.0, 1.01, 5.0]] * 6), np.array([[4, 4, 1]] * 6), 24)
    errors = np.array([[2.0, 0.1, 0.1]] * 6)
    assert solve(problem, Convex()).choice.tolist() == [0] * 6
    assert solve(problem, Convex(errors, 1.0)).choice.tolist() == [1] * 6
    assert robust_plan(problem, errors, 1.0).gap < 0.05


def test_robust_plan_says_why_it_has_none() -> None:
    problem = one_budget(np.ones((2, 2)), np.array([[2, 3], [2, 3]]), 3)
    assert robust_plan(problem, np.ones((2, 2)), 1.0).status is Status.INFEASIBLE
    sizes = np.array([[[0, 2], [0, 2]], [[2, 0], [2, 0]]])
    assert robust_plan(Problem(np.zeros((2, 2)), sizes, np.array([1, 1])), np.ones((2, 2)), 1.0).status is Status.INFEASIBLE
    empty = Problem(np.empty((0, 2)), np.empty((1, 0, 2), dtype=np.int64), np.array([0]))
    assert robust_plan(empty, np.empty((0, 2)), 1.0).status is Status.OPTIMAL


def test_bad_settings_are_refused() -> None:
    problem = one_budget(np.ones((1, 2)), np.ones((1, 2), dtype=np.int64), 1)
    for kappa in (-1.0, math.nan, math.inf):
        with pytest.raises(SettingError, match="kappa"):
            Convex(np.ones((1, 2)), kappa)
    with pytest.raises(SettingError, match="no standard_errors"):
        Convex(kappa=1.0)
    for wrong in (np.ones((2, 2)), -np.ones((1, 2)), np.full((1, 2), np.nan)):
        with pytest.raises(SettingError, match="standard_errors"):
            robust_plan(problem, wrong, 1.0)
    with pytest.raises(UnsupportedProblemError, match="shape"):
        solve(problem, Convex(np.ones((2, 2)), 1.0))


def test_a_robust_plan_would_not_keep_rules() -> None:
    free = one_budget(np.array([[2.0, 1.0], [2.0, 1.0]]), np.array([[1, 2], [1, 2]]), 4)
    ruled = Problem(free.loss, free.sizes, free.budgets, (CountRule(np.array([[False, True]] * 2), at_most=1),))
    with pytest.raises(UnsupportedProblemError, match="side rules"):
        robust_plan(ruled, np.zeros((2, 2)), 1.0)


@pytest.mark.parametrize("scale", [1e-250, 1e-30, 1e30, 1e250])
def test_robust_plans_do_not_depend_on_the_unit_of_the_losses(scale: float) -> None:
    problem = curves(12, 6, seed=2)
    errors = problem.loss * np.random.default_rng(0).random(problem.loss.shape)
    plain = robust_plan(problem, errors, 2.0)
    scaled = robust_plan(Problem(problem.loss * scale, problem.sizes, problem.budgets), errors * scale, 2.0)
    assert scaled.objective == pytest.approx(plain.objective * scale, rel=1e-9)
    assert scaled.lower_bound == pytest.approx(plain.lower_bound * scale, rel=1e-6)
