"""The default solver against brute force, HiGHS on the whole model, and what is hard for it."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_array

from solvers import BruteForce, Mckp, Problem, SettingError, Status, solve
from solvers.mckp.core import gather_core
from solvers.mckp.excess import measure_excess
from solvers.mckp.list_pairs import join_lists
from solvers.mckp.moves import moves_within
from solvers.mckp.one_budget import apply_moves, find_corner
from solvers.solver import Deadline
from tests.solvers.contract import recomputed_bound, replace_budget, scale_of
from tests.solvers.instances import LOSSES, SIZES, adversarial, curves, one_budget, tiny_problem

KINDS = list(itertools.product(LOSSES, SIZES, (False, True)))


def rows_of(problem: Problem) -> tuple[csr_array, np.ndarray]:
    """One row a class (choose one) and the capacity row, both over the N·K variables."""
    classes, items = problem.loss.shape
    one_each = csr_array((np.ones(classes * items), (np.repeat(np.arange(classes), items), np.arange(classes * items))))
    return one_each, problem.sizes[0].astype(float).ravel()[None, :]


def highs_optimum(problem: Problem) -> float:
    """The whole model in HiGHS, losses scaled so that its tolerances do not matter."""
    one_each, capacity = rows_of(problem)
    scale = 1e4 / problem.loss.min(axis=1).sum()
    result = milp(
        problem.loss.ravel() * scale,
        integrality=np.ones(problem.loss.size),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(capacity / 100.0, ub=float(problem.budgets[0]) / 100.0),
        ],
        options={"mip_rel_gap": 1e-9},
    )
    assert result.status == 0
    choice = result.x.reshape(problem.loss.shape).argmax(axis=1)
    return float(problem.loss[np.arange(problem.classes), choice].sum())


@pytest.mark.parametrize(("losses", "sizes", "forbid"), KINDS)
@pytest.mark.parametrize("solver", [Mckp(), Mckp(max_states=30)], ids=["search", "limited"])
def test_equals_brute_force(losses: str, sizes: str, forbid: bool, solver: Mckp) -> None:
    for seed in range(20):
        problem = tiny_problem(seed, losses=losses, sizes=sizes, forbid=forbid)
        ours, judge = solve(problem, solver), solve(problem, BruteForce())
        assert ours.status is judge.status
        if judge.status is Status.OPTIMAL:
            assert ours.loss == pytest.approx(judge.loss, abs=1e-13 * scale_of(problem))


def test_brute_force_comparisons_are_many() -> None:
    assert 20 * len(KINDS) >= 1_000


cells = st.tuples(st.integers(-4, 4) | st.just(np.inf), st.integers(0, 6))


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    items = draw(st.integers(1, 4))
    table = draw(st.lists(st.lists(cells, min_size=items, max_size=items), min_size=1, max_size=6))
    loss, sizes = (
        np.array([[cell[0] for cell in row] for row in table], float),
        np.array([[cell[1] for cell in row] for row in table]),
    )
    loss[np.isinf(loss).all(axis=1), 0] = 1.0
    return one_budget(loss, sizes * draw(st.sampled_from([1, 3, 10**12])), draw(st.integers(0, 30)))


@settings(max_examples=200, deadline=None)
@given(problems())
def test_property_equals_brute_force_and_bounds_it(problem: Problem) -> None:
    ours, judge = solve(problem, Mckp()), solve(problem, BruteForce())
    assert ours.status is judge.status
    if judge.status is Status.OPTIMAL:
        assert ours.loss == pytest.approx(judge.loss, abs=1e-9)
        assert recomputed_bound(problem, ours) <= judge.loss + 1e-9
    else:
        assert solve(replace_budget(problem, int(ours.smallest_sizes[0])), Mckp()).status is Status.OPTIMAL


@settings(max_examples=60, deadline=None)
@given(problems(), st.sampled_from([1e-30, 1e-6, 1e30]), st.sampled_from([2, 7, 1_000]))
def test_property_units_change_no_choice(problem: Problem, loss_unit: float, size_unit: int) -> None:
    first = solve(problem, Mckp())
    second = solve(Problem(problem.loss * loss_unit, problem.sizes * size_unit, problem.budgets * size_unit), Mckp())
    assert first.status is second.status
    if first.status is Status.OPTIMAL:
        assert second.loss == pytest.approx(first.loss * loss_unit, rel=1e-9, abs=1e-9 * loss_unit)


def test_seven_billion_parameters_equals_highs() -> None:
    problem = curves(224, 8, seed=0)
    solution = solve(problem, Mckp())
    assert solution.status is Status.OPTIMAL
    assert solution.stats.proof == "search"
    assert solution.loss == pytest.approx(highs_optimum(problem), rel=1e-9)
    assert solution.stats.lagrangian_gap < 5e-3


@pytest.mark.parametrize(("classes", "items"), [(30, 4), (84, 8)])
def test_bound_is_that_of_the_linear_program(classes: int, items: int) -> None:
    problem = curves(classes, items, seed=1)
    one_each, capacity = rows_of(problem)
    scale = 1e4 / problem.loss.min(axis=1).sum()
    lp = linprog(
        problem.loss.ravel() * scale,
        A_ub=capacity / 1e9,
        b_ub=[problem.budgets[0] / 1e9],
        A_eq=one_each,
        b_eq=np.ones(classes),
        bounds=(0, None),
    )
    solution = solve(problem, Mckp())
    assert solution.stats.lagrangian_bound * scale == pytest.approx(lp.fun, rel=1e-8)
    assert solution.multipliers[0] * scale * 1e9 == pytest.approx(-lp.ineqlin.marginals[0], rel=1e-6)


@pytest.mark.parametrize("share", [0.001, 0.02, 0.5, 0.97, 0.999])
@pytest.mark.parametrize("equal_sizes", [False, True])
def test_search_and_program_agree_over_the_range(share: float, equal_sizes: bool) -> None:
    problem = curves(60, 8, seed=3, share=share, equal_sizes=equal_sizes)
    search, program = solve(problem, Mckp()), solve(problem, Mckp(max_states=0))
    assert search.status is program.status is Status.OPTIMAL
    assert search.loss == pytest.approx(program.loss, rel=1e-12)


def test_large_problems_start_from_a_sample() -> None:
    """44,544 experts of one size: the slack that no whole step can use is not looked for."""
    problem = curves(44_544, 8, seed=0, equal_sizes=True)
    solution = solve(problem, Mckp())
    assert solution.status is Status.OPTIMAL
    assert solution.stats.lagrangian_gap < 1e-4
    assert solution.stats.lagrangian_bound == pytest.approx(recomputed_bound(problem, solution), rel=1e-9)


@pytest.mark.parametrize("family", ["proportional", "nearly_proportional", "fixed_charge"])
def test_hard_families_end_with_an_honest_gap(family: str) -> None:
    problem = adversarial(family, 84, seed=0)
    limited = solve(problem, Mckp(max_states=20_000, max_nodes=0))
    assert limited.status in (Status.LIMIT, Status.OPTIMAL)
    assert limited.lower_bound <= limited.loss
    assert limited.stats.lagrangian_bound == pytest.approx(recomputed_bound(problem, limited), rel=1e-9)
    assert limited.gap == pytest.approx(0.0 if limited.status is Status.OPTIMAL else limited.stats.lagrangian_gap)
    assert limited.gap < 1e-2


@pytest.mark.parametrize(("family", "classes"), [("fixed_charge", 84), ("proportional", 84), ("proportional", 560)])
def test_two_lists_joined_close_hard_families(family: str, classes: int) -> None:
    """One list would pass its limit with a gap of 1e-5 to 1e-9; the joined lists leave almost nothing to search."""
    problem = adversarial(family, classes, seed=0)
    solution = solve(problem, Mckp(max_nodes=0))
    assert solution.status is Status.OPTIMAL
    assert solution.stats.lagrangian_gap < 1e-12
    assert solution.stats.lagrangian_bound == pytest.approx(recomputed_bound(problem, solution), rel=1e-9)


def test_joined_lists_find_the_best_of_all_choices_of_a_small_core() -> None:
    """Two lists without a limit are an exhausted search."""
    for seed in range(20):
        tiny = tiny_problem(seed, losses="uniform", sizes="bits", forbid=False)
        problem = replace_budget(tiny, max(int(tiny.budgets[0]), int(tiny.smallest_sizes()[0])))
        excess = measure_excess(problem)
        corner = find_corner(excess)
        moves = moves_within(excess, corner, np.inf)
        everything = moves.pick(np.isfinite(moves.cost))
        limit = 2 * float(everything.cost.sum()) + corner.gap + 1
        core = gather_core(corner, everything, limit)
        joined = join_lists(corner, core, limit, deadline=Deadline())
        assert joined.chosen is not None
        hurried = join_lists(corner, core, limit, deadline=Deadline.after(0))
        assert (hurried.chosen is None or hurried.chosen.count == 0, hurried.states) == (True, 2)
        choice = apply_moves(corner.choice, joined.chosen)
        judge = solve(problem, BruteForce())
        assert problem.loss[np.arange(problem.classes), choice].sum() == pytest.approx(judge.loss, rel=1e-12)


def test_the_program_closes_what_the_search_leaves() -> None:
    problem = curves(120, 8, seed=4)
    limited, closed = solve(problem, Mckp(max_states=10, max_nodes=0)), solve(problem, Mckp(max_states=10))
    searched = solve(problem, Mckp())
    assert limited.status is Status.LIMIT
    assert (closed.status, closed.stats.proof) == (Status.OPTIMAL, "milp")
    assert (searched.status, searched.stats.proof) == (Status.OPTIMAL, "search")
    assert closed.loss == pytest.approx(searched.loss, rel=1e-12)
    assert closed.loss <= limited.loss


def test_the_program_narrows_a_gap_that_it_cannot_close() -> None:
    problem = adversarial("fixed_charge", 84, seed=0)
    searched = solve(problem, Mckp(max_states=20_000, max_nodes=0))
    narrowed = solve(problem, Mckp(max_states=20_000, max_nodes=100))
    assert searched.status is narrowed.status is Status.LIMIT
    assert narrowed.gap < searched.gap / 5


def test_limits_leave_the_program_out() -> None:
    problem = adversarial("proportional", 30, seed=0)
    for solver in (Mckp(max_states=0, max_core=1), Mckp(max_states=0, program_gap=1.0)):
        solution = solve(problem, solver)
        assert (solution.status, solution.stats.nodes) == (Status.LIMIT, 0)


def test_at_the_deadline_the_incumbent_and_its_gap() -> None:
    problem = adversarial("proportional", 84, seed=0)
    solution = solve(problem, Mckp(), deadline=0)
    assert solution.status is Status.LIMIT
    assert 0 < solution.gap < 1e-2
    assert solution.choice.shape == (84,)
    assert solution.sizes[0] <= problem.budgets[0]


def test_a_deadline_during_the_program_keeps_the_incumbent() -> None:
    solution = solve(adversarial("proportional", 84, seed=0), Mckp(max_states=0, max_nodes=100_000), deadline=0.3)
    assert solution.status is Status.LIMIT
    assert solution.gap < 1e-2
    assert solution.stats.seconds < 5


def test_totals_past_two_to_the_53_keep_the_budget_to_the_unit() -> None:
    rng = np.random.default_rng(0)
    loss, sizes = rng.random((400, 6)), rng.integers(2**48, 2**53, (400, 6))
    for budget in range(400 * 2**51, 400 * 2**51 + 3):
        solution = solve(one_budget(loss, sizes, budget), Mckp(max_nodes=0))
        assert solution.status in (Status.OPTIMAL, Status.LIMIT)
        assert sum(map(int, sizes[np.arange(400), solution.choice])) == solution.sizes[0] <= budget


def test_negative_limits_are_refused() -> None:
    for name in ("max_states", "max_nodes", "max_core", "program_gap"):
        with pytest.raises(SettingError, match=f"{name} is -1"):
            Mckp(**{name: -1})


def test_small_losses_beside_a_huge_one_are_not_lost() -> None:
    """Scaled so that the largest is near 1, the others would all be 0 and any choice proven optimal."""
    rng = np.random.default_rng(3)
    for budgets in (1, 2):
        for _ in range(40):
            loss = np.where(rng.random((4, 3)) < 0.3, 1e280, rng.random((4, 3)) * 1e-40)
            sizes = rng.integers(0, 9, (budgets, 4, 3))
            problem = Problem(loss, sizes, sizes[:, np.arange(4), rng.integers(0, 3, 4)].sum(axis=1))
            solution, judge = solve(problem, Mckp()), solve(problem, BruteForce())
            assert solution.status is judge.status is Status.OPTIMAL
            assert solution.loss == pytest.approx(judge.loss, rel=1e-12)
