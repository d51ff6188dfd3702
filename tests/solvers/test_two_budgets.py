"""``Mckp`` under two budgets, against brute force, HiGHS on the whole model and the linear program."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, linprog, milp
from scipy.sparse import csr_array

from solvers import BruteForce, Mckp, Problem, Status, solve
from solvers.arrays import Floats, Integers
from tests.solvers.contract import recomputed_bound, scale_of
from tests.solvers.instances import LOSSES, SIZES, curves, tiny_two_budgets, two_budgets

KINDS = list(itertools.product(LOSSES, SIZES, SIZES))


@pytest.mark.parametrize(("losses", "first", "second"), KINDS)
def test_equals_brute_force(losses: str, first: str, second: str) -> None:
    for seed in range(6):
        problem = tiny_two_budgets(seed, losses=losses, sizes=(first, second), forbid=seed % 2 == 1)
        judge = solve(problem, BruteForce())
        for solver in (Mckp(), Mckp(max_states=0)):
            ours = solve(problem, solver)
            assert ours.status is judge.status
            if judge.status is Status.OPTIMAL:
                assert ours.loss == pytest.approx(judge.loss, abs=1e-13 * scale_of(problem))
                expected = pytest.approx(recomputed_bound(problem, ours), abs=1e-9 * scale_of(problem))
                assert ours.stats.lagrangian_bound == expected


def test_brute_force_comparisons_are_many() -> None:
    assert 6 * len(KINDS) >= 1_000


cells = st.tuples(st.integers(-4, 4) | st.just(np.inf), st.integers(0, 6), st.integers(0, 6))


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    items = draw(st.integers(1, 4))
    table = draw(st.lists(st.lists(cells, min_size=items, max_size=items), min_size=1, max_size=6))
    numbers = np.array(table, dtype=float)
    loss, sizes = numbers[:, :, 0], np.moveaxis(numbers[:, :, 1:], 2, 0).astype(np.int64)
    loss[np.isinf(loss).all(axis=1), 0] = 1.0
    units = np.array([draw(st.sampled_from([1, 3, 10**12])), draw(st.sampled_from([1, 7]))])
    budgets = np.array([draw(st.integers(0, 30)), draw(st.integers(0, 30))])
    return Problem(loss, sizes * units[:, None, None], budgets * units)


@settings(max_examples=200, deadline=None)
@given(problems())
def test_property_equals_brute_force_and_bounds_it(problem: Problem) -> None:
    ours, judge = solve(problem, Mckp()), solve(problem, BruteForce())
    assert ours.status is judge.status
    if judge.status is Status.OPTIMAL:
        assert ours.loss == pytest.approx(judge.loss, abs=1e-9)
        assert recomputed_bound(problem, ours) <= judge.loss + 1e-9


@settings(max_examples=60, deadline=None)
@given(problems(), st.sampled_from([1e-30, 1e-6, 1e30]))
def test_property_units_and_the_order_of_rows_change_no_loss(problem: Problem, unit: float) -> None:
    first = solve(problem, Mckp())
    turned = solve(Problem(problem.loss * unit, problem.sizes[::-1] * 11, problem.budgets[::-1] * 11), Mckp())
    assert first.status is turned.status
    if first.status is Status.OPTIMAL:
        assert turned.loss == pytest.approx(first.loss * unit, rel=1e-9, abs=1e-9 * unit)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_property_a_repeated_row_changes_nothing(problem: Problem) -> None:
    one = Problem(problem.loss, problem.sizes[:1], problem.budgets[:1])
    twice = Problem(problem.loss, problem.sizes[[0, 0]], problem.budgets[[0, 0]])
    first, second = solve(one, Mckp()), solve(twice, Mckp())
    assert (first.status, first.loss) == (second.status, second.loss)


def one_each(problem: Problem) -> csr_array:
    classes, items = problem.loss.shape
    return csr_array((np.ones(classes * items), (np.repeat(np.arange(classes), items), np.arange(classes * items))))


def scaled_rows(problem: Problem) -> tuple[Floats, Floats]:
    """Both capacity rows with coefficients up to 1e6, and their right-hand sides."""
    shrink = problem.sizes.max(axis=(1, 2)) / 1e6
    return problem.sizes.reshape(len(shrink), -1) / shrink[:, None], problem.budgets / shrink


def highs(problem: Problem, gap: float = 1e-9) -> OptimizeResult:
    """The whole model in HiGHS, its losses scaled so that tolerances do not matter."""
    scale = 1e4 / problem.loss.min(axis=1).sum()
    rows, budgets = scaled_rows(problem)
    constraints = [LinearConstraint(one_each(problem), 1, 1), LinearConstraint(rows, ub=budgets)]
    whole = np.ones(problem.loss.size)
    return milp(
        problem.loss.ravel() * scale,
        integrality=whole,
        bounds=Bounds(0, 1),
        constraints=constraints,
        options={"mip_rel_gap": gap},
    )


def loss_of(problem: Problem, result: OptimizeResult) -> float:
    choice = result.x.reshape(problem.loss.shape).argmax(axis=1)
    return float(problem.loss[np.arange(problem.classes), choice].sum())


@pytest.mark.parametrize(
    ("classes", "shares"), [(84, (0.4, 0.3)), (84, (0.2, 0.15)), (84, (0.1, 0.06)), (224, (0.5, 0.4)), (560, (0.2, 0.15))]
)
def test_equals_highs_on_the_whole_model(classes: int, shares: tuple[float, float]) -> None:
    problem = two_budgets(classes, 8, seed=1, shares=shares)
    solution, judge = solve(problem, Mckp()), highs(problem)
    assert judge.status == 0
    assert (solution.status, solution.stats.proof) == (Status.OPTIMAL, "search")
    assert (solution.multipliers > 0).all()
    assert solution.loss == pytest.approx(loss_of(problem, judge), rel=1e-9)


@pytest.mark.parametrize(("classes", "equal_sizes"), [(30, False), (84, False), (84, True), (1_200, False)])
def test_bound_is_that_of_the_linear_program(classes: int, equal_sizes: bool) -> None:
    problem = two_budgets(classes, 8, seed=0, shares=(0.2, 0.17), equal_sizes=equal_sizes)
    scale = 1e4 / problem.loss.min(axis=1).sum()
    rows, budgets = scaled_rows(problem)
    lp = linprog(
        problem.loss.ravel() * scale, A_ub=rows, b_ub=budgets, A_eq=one_each(problem), b_eq=np.ones(classes), bounds=(0, None)
    )
    solution = solve(problem, Mckp(max_states=1_000, max_nodes=0))
    assert solution.stats.lagrangian_bound * scale == pytest.approx(lp.fun, rel=1e-9)
    prices = -lp.ineqlin.marginals * 1e6 / problem.sizes.max(axis=(1, 2)) / scale
    assert solution.multipliers == pytest.approx(prices, rel=1e-6)


@pytest.mark.parametrize("most", [5, 40, 150])
def test_a_count_limit_is_a_row_of_zeros_and_ones(most: int) -> None:
    """At most so many classes above 5 bits."""
    memory = curves(200, 8, seed=2)
    counted = np.zeros(memory.loss.shape, dtype=np.int64)
    counted[:, 5:] = 1
    problem = Problem(memory.loss, np.stack((memory.sizes[0], counted)), np.array([memory.budgets[0], most]))
    solution = solve(problem, Mckp())
    assert solution.status is Status.OPTIMAL
    assert solution.sizes[1] <= most
    assert solution.loss == pytest.approx(loss_of(problem, highs(problem)), rel=1e-8)


def test_a_row_that_binds_nothing_leaves_the_other_alone() -> None:
    memory = curves(224, 8, seed=0)
    alone = solve(memory, Mckp())
    for rows in ([0, 1], [1, 0]):
        sizes = np.stack((memory.sizes[0], memory.sizes[0] // 3))[rows]
        budgets = np.array([memory.budgets[0], 2**61])[rows]
        both = solve(Problem(memory.loss, sizes, budgets), Mckp())
        assert (both.status, both.loss) == (Status.OPTIMAL, alone.loss)
        assert both.multipliers.tolist() == np.array([alone.multipliers[0], 0.0])[rows].tolist()
        assert (both.stats.states, both.stats.core_items) == (alone.stats.states, alone.stats.core_items)


def least_latency(problem: Problem) -> Integers:
    """The least latency within the memory, with HiGHS's help: int64 totals."""
    beside = Problem(problem.sizes[1].astype(float), problem.sizes[:1], problem.budgets[:1])
    choice = highs(beside).x.reshape(problem.loss.shape).argmax(axis=1)
    totals: Integers = problem.sizes[:, np.arange(problem.classes), choice].sum(axis=1)
    return totals


def test_budgets_that_cannot_be_kept_together_are_proved_so_and_said_how_far() -> None:
    problem = two_budgets(60, 8, seed=0, shares=(0.002, 0.2))
    memory, least = least_latency(problem).tolist()
    assert memory <= problem.budgets[0]
    below, at = (
        solve(Problem(problem.loss, problem.sizes, np.array([problem.budgets[0], least - short])), Mckp()) for short in (1, 0)
    )
    assert below.status is Status.INFEASIBLE
    assert str(least) in below.reason
    assert below.choice.size == 0
    assert (below.smallest_sizes <= np.array([problem.budgets[0], least - 1])).all()
    assert at.status is Status.OPTIMAL
    assert at.sizes[1] == least


def test_feasible_as_a_mixture_but_not_as_a_choice() -> None:
    """Half of each item would keep both budgets; no whole choice does."""
    problem = Problem(np.zeros((3, 2)), np.array([[[0, 2]] * 3, [[2, 0]] * 3]), np.array([3, 3]))
    solution = solve(problem, Mckp())
    assert solution.status is Status.INFEASIBLE
    assert "needs 4 at least" in solution.reason


def test_large_problems_end_with_an_honest_small_gap() -> None:
    problem = two_budgets(44_544, 8, seed=0, shares=(0.2, 0.15))
    solution = solve(problem, Mckp(max_states=1_000, max_nodes=0))
    assert solution.status is Status.LIMIT
    assert 0 < solution.gap < 1e-6
    assert (solution.sizes <= problem.budgets).all()
    assert solution.stats.lagrangian_bound == pytest.approx(recomputed_bound(problem, solution), rel=1e-9)


def test_at_the_deadline_the_incumbent_and_its_gap() -> None:
    problem = two_budgets(560, 8, seed=0, shares=(0.2, 0.15))
    solution, optimum = solve(problem, Mckp(), deadline=0), solve(problem, Mckp())
    assert solution.status is Status.LIMIT
    assert solution.loss >= optimum.loss >= solution.lower_bound
    assert solution.gap < 1e-2


def test_the_program_closes_what_the_search_leaves() -> None:
    problem = two_budgets(120, 8, seed=4, shares=(0.2, 0.15))
    limited, closed = solve(problem, Mckp(max_states=10, max_nodes=0)), solve(problem, Mckp(max_states=10))
    searched = solve(problem, Mckp())
    assert limited.status is Status.LIMIT
    assert (closed.status, closed.stats.proof) == (Status.OPTIMAL, "milp")
    assert closed.loss == pytest.approx(searched.loss, rel=1e-12)


def test_what_a_row_needs_is_more_than_its_budget() -> None:
    """Without states the bound of the second row lies below its budget where only the exhausted search excludes a choice."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        first = rng.integers(1, 1_000, (6, 4))
        second = 1_001 - first + rng.integers(0, 3, first.shape)
        least = first.min(axis=1).sum() + (first.max(axis=1) - first.min(axis=1)).sum() // 2
        needs = int(solve(Problem(second.astype(float), first[None], np.array([least])), Mckp()).loss)
        problem = Problem(rng.random(first.shape), np.stack((first, second)), np.array([least, needs - 1]))
        solution = solve(problem, Mckp(max_states=0, max_nodes=0))
        assert solution.choice.size == 0
        if solution.status is Status.INFEASIBLE:
            said = re.search(r"row 1 needs (\d+) at least", solution.reason)
            assert said is not None
            assert needs - 1 < int(said[1]) <= needs
