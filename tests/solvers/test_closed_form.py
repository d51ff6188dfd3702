"""Whole bits by marginal returns, BAQ's closed form on tables, and the moves that make both feasible and better."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import BruteForce, Mckp, Problem, Status, UnsupportedProblemError, solve
from solvers.dominance import undominated
from solvers.errors import ProblemError, SettingError
from solvers.rates.closed_form import ClosedForm
from solvers.rates.components import Components
from solvers.rates.integer_bits import MarginalReturns, bits_problem, index_bits, integer_bits, round_bits
from solvers.rates.water_filling import water_fill
from solvers.repair import improve, keep_budgets
from tests.solvers.contract import SolverContract
from tests.solvers.instances import curves, one_budget, tiny_problem

MENU = np.arange(2.0, 9.0)


class TestMarginalReturns(SolverContract):
    solver = MarginalReturns()
    exact = False


class TestClosedForm(SolverContract):
    solver = ClosedForm()
    exact = False


def layers(seed: int, *, classes: int = 200, equal: bool = False) -> Components:
    rng = np.random.default_rng(seed)
    weights = np.full(classes, 4096.0) if equal else np.rint(np.exp(rng.uniform(np.log(1e5), np.log(5e7), classes)))
    return Components.of(np.exp(rng.normal(0, 1.5, classes)) * weights, weights=weights, low=2.0, high=8.0)


def test_golden_integers_and_their_ties() -> None:
    """Three plans lose 3.25 at 8 bits; of equal returns the lower index gets the bit."""
    result = integer_bits(Components.of([1.0, 4.0, 16.0, 256.0]), np.arange(9), 8)
    assert result.bits.tolist() == [1.0, 1.0, 2.0, 4.0]
    assert (result.solution.loss, result.solution.sizes.tolist()) == (3.25, [8])
    for bits in ([0, 1, 2, 5], [0, 2, 2, 4], [1, 1, 2, 4]):
        assert (np.array([1.0, 4.0, 16.0, 256.0]) * 4.0 ** -np.array(bits)).sum() == 3.25


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [0.1, 0.37, 0.9])
def test_equal_sizes_end_at_the_optimum(seed: int, share: float) -> None:
    components = layers(seed, classes=60, equal=True)
    budget = int(4096 * 60 * (2 + 6 * share))
    greedy, exact = integer_bits(components, MENU, budget), integer_bits(components, MENU, budget, Mckp())
    assert greedy.solution.loss == pytest.approx(exact.solution.loss, rel=1e-13)
    assert exact.solution.status is Status.OPTIMAL


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1.05))
def test_property_never_over_the_budget_and_the_gap_holds(seed: int, share: float) -> None:
    components = layers(seed, classes=4)
    budget = int(components.weights.sum() * (2 + 4 * share))
    result = integer_bits(components, [2.0, 3.0, 4.0, 6.0], budget)
    assert sum(int(n * b) for n, b in zip(components.weights, result.bits, strict=True)) == result.solution.sizes[0] <= budget
    best = solve(result.problem, BruteForce()).loss
    assert result.solution.lower_bound <= best * (1 + 1e-12)
    assert best <= result.solution.loss * (1 + 1e-12)


def test_grid_optimum_rounding_and_rounding_down() -> None:
    """The grid costs 8 to 9 % here; rounding to the nearest breaks the budget or loses, rounding down doubles the loss."""
    broken = 0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        weights = np.rint(np.exp(rng.uniform(np.log(1e5), np.log(5e7), 224)))
        components = Components.of(np.exp(rng.normal(0, 1.5, 224)), weights=weights, low=2.0, high=8.0)
        budget = int(weights.sum() * 4)
        filled = water_fill(components, budget)
        greedy = integer_bits(components, MENU, budget).solution
        exact = integer_bits(components, MENU, budget, Mckp()).solution
        assert 1.03 < exact.loss / filled.loss < 1.15
        assert greedy.loss < exact.loss * 1.001
        down = MENU[round_bits(filled.bits, MENU, down=True)]
        nearest = MENU[round_bits(filled.bits, MENU)]
        assert 1.5 < components.losses(down).sum() / exact.loss < 2.3
        broken += components.size(nearest) > budget
        assert (components.size(nearest) > budget) == (components.losses(nearest).sum() < exact.loss)
        assert components.size(down) <= budget
    assert broken == 2


def test_rounding_takes_the_nearest_entry_and_the_lower_of_two() -> None:
    assert round_bits(np.array([1.0, 2.4, 2.5, 2.6, 5.1, 9.0]), [2, 3, 4, 6]).tolist() == [0, 0, 0, 1, 3, 3]
    assert round_bits(np.array([1.0, 2.9, 3.0, 5.9]), [2, 3, 4, 6], down=True).tolist() == [0, 0, 1, 2]
    assert round_bits(np.array([1.0, 9.0]), [4]).tolist() == [0, 0]


def test_columns_rows_and_layers_are_the_same_routine() -> None:
    """Columns of two layers with BAQ's column losses; side information is part of the budget."""
    rng = np.random.default_rng(0)
    menu = np.array([1.0, 2.0, 3.0, 4.0])
    scale = np.exp(rng.normal(0, 2, 192))
    rows = np.repeat([64.0, 256.0], [128, 64])  # weights of a column
    side = index_bits(menu.size) / rows
    components = Components.of(scale, weights=rows, beta=3.86, low=1.0, high=4.0, side_bits=side)
    budget = int(3 * rows.sum())
    result = integer_bits(components, menu, budget)
    assert result.solution.sizes[0] == int((rows * result.bits).sum()) + 2 * 192 <= budget
    free = integer_bits(Components.of(scale, weights=rows, beta=3.86, low=1.0, high=4.0), menu, budget)
    assert free.solution.loss < result.solution.loss


def test_index_bits() -> None:
    assert [index_bits(k) for k in (1, 2, 3, 4, 5, 8, 9)] == [0, 1, 2, 2, 3, 3, 4]
    with pytest.raises(ProblemError, match="one at least"):
        index_bits(0)


def test_fractional_sizes_are_rounded_up() -> None:
    problem = bits_problem(Components.of([1.0], weights=3.0, side_bits=0.1), np.array([2.0, 2.585]), 100)
    assert problem.sizes.tolist() == [[[7, 9]]]


def test_a_menu_that_offers_nothing_is_refused() -> None:
    with pytest.raises(ProblemError, match="component 1 allows 5"):
        integer_bits(Components.of([1.0, 1.0], low=[2.0, 5.0], high=5.5), [2.0, 3.0], 9)
    with pytest.raises(ProblemError, match="range of int64"):
        integer_bits(Components.of([1.0], weights=1e19), [2.0], 9)


def test_infeasible_integers_say_the_floor() -> None:
    result = integer_bits(Components.of([1.0, 1.0], weights=10.0), [2.0, 3.0], 39)
    assert (result.solution.status, result.solution.smallest_sizes.tolist()) == (Status.INFEASIBLE, [40])
    assert result.bits.size == 0


@pytest.mark.parametrize("equal", [False, True])
def test_closed_form_on_exact_curves_is_near_the_optimum(equal: bool) -> None:
    components = layers(5, equal=equal)
    problem = bits_problem(components, MENU, int(components.weights.sum() * 3.7))
    ours, best = solve(problem, ClosedForm()), solve(problem, Mckp())
    assert ours.loss < best.loss * 1.002
    assert ours.stats.lagrangian_bound == pytest.approx(best.stats.lagrangian_bound, rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_closed_form_on_noisy_tables_pays_for_its_curves(seed: int) -> None:
    problem = curves(224, 8, seed=seed)
    ours, best = solve(problem, ClosedForm()), solve(problem, Mckp())
    assert best.loss <= ours.loss < best.loss * 1.1
    assert ours.status is Status.FEASIBLE
    assert ours.gap == pytest.approx((ours.loss - best.stats.lagrangian_bound) / ours.loss, rel=1e-6)


def test_what_a_bit_is_matters_only_without_a_curve() -> None:
    problem = curves(40, 4, seed=0)
    rng = np.random.default_rng(0)
    plain, weighted = solve(problem, ClosedForm()), solve(problem, ClosedForm(weights=rng.integers(1, 10**6, 40)))
    assert plain.choice.tolist() == weighted.choice.tolist()


def test_classes_without_a_curve_take_the_beta_of_the_others() -> None:
    loss = np.array([[16.0, 4.0, 1.0, 0.25], [8.0, np.inf, np.inf, 0.0], [3.0, np.inf, np.inf, np.inf], [0.0, 0.0, 1.0, 2.0]])
    sizes = np.array([[2, 3, 4, 5]] * 4)
    for budget in range(8, 15):
        solution = solve(one_budget(loss, sizes, budget), ClosedForm(weights=np.ones(4, dtype=np.int64)))
        assert solution.loss <= solve(one_budget(loss, sizes, budget), BruteForce()).loss + 4
        assert solution.sizes[0] <= budget


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1e-30, 1e30]))
def test_property_the_unit_of_loss_changes_nothing(seed: int, unit: float) -> None:
    problem = tiny_problem(seed, losses="uniform", sizes="small", forbid=True)
    scaled = Problem(problem.loss * unit, problem.sizes, problem.budgets)
    for solver in (ClosedForm(), MarginalReturns()):
        first, second = solve(problem, solver), solve(scaled, solver)
        assert first.status is second.status
        if first.choice.size:
            assert second.loss == pytest.approx(first.loss * unit, rel=1e-9)


def test_many_equal_columns() -> None:
    """Ties everywhere: the greedy has to stop in the middle of them."""
    problem = bits_problem(Components.of(np.ones(5000), weights=64.0), MENU, 64 * 5000 * 3 + 64 * 1234 + 7)
    for solver in (MarginalReturns(), ClosedForm()):
        solution = solve(problem, solver)
        assert solution.loss == pytest.approx((5000 - 1234) / 64 + 1234 / 256, rel=1e-12)


def test_bad_settings_and_foreign_problems_are_refused() -> None:
    for wrong in ({"default_beta": 1.0}, {"swaps": -1}, {"weights": np.array([0, 1])}):
        with pytest.raises(SettingError):
            ClosedForm(**wrong)
    with pytest.raises(UnsupportedProblemError, match="each of the 1 classes"):
        solve(one_budget(np.ones((1, 1)), np.ones((1, 1), dtype=np.int64), 1), ClosedForm(weights=np.ones(2, dtype=np.int64)))
    with pytest.raises(UnsupportedProblemError, match="one budget"):
        solve(Problem(np.ones((1, 1)), np.ones((2, 1, 1), dtype=np.int64), np.array([1, 1])), ClosedForm())


def test_at_the_deadline_the_rounded_choice() -> None:
    for solver in (ClosedForm(), MarginalReturns()):
        solution = solve(curves(224, 8, seed=0), solver, deadline=0)
        assert solution.status is Status.FEASIBLE
        assert solution.gap < 0.2


@pytest.mark.parametrize("seed", range(20))
def test_undominated_items_are_those_that_no_other_beats(seed: int) -> None:
    rng = np.random.default_rng(seed)
    loss, sizes = rng.integers(0, 4, (5, 4)).astype(float), rng.integers(0, 4, (2, 5, 4))
    loss[rng.random((5, 4)) < 0.2] = np.inf
    loss[:, 0] = 1.0
    kept = undominated(Problem(loss, sizes, np.array([9, 9])))
    for i, k in itertools.product(range(5), range(4)):
        own = (loss[i, k], *sizes[:, i, k])
        others = [(loss[i, j], *sizes[:, i, j]) for j in range(4) if j != k and np.isfinite(loss[i, j])]
        beaten = any(all(a <= b for a, b in zip(other, own, strict=True)) and other != own for other in others)
        first = all((loss[i, j], *sizes[:, i, j]) != own for j in range(k))
        assert kept[i, k] == (np.isfinite(loss[i, k]) and not beaten and first)


@pytest.mark.parametrize("seed", range(30))
def test_repair_keeps_two_budgets_or_says_that_it_cannot(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 50, (2, 30, 4))
    smallest = sizes.min(axis=2).sum(axis=1)
    problem = Problem(rng.random((30, 4)), sizes, smallest + rng.integers(250, 400, 2))
    start = rng.integers(0, 4, 30)
    kept = keep_budgets(problem, start, np.array([0.01, 0.01]))
    assert kept is not None
    assert (sizes[:, np.arange(30), kept].sum(axis=1) <= problem.budgets).all()
    better = improve(problem, kept, np.array([0.01, 0.01]))
    assert (sizes[:, np.arange(30), better].sum(axis=1) <= problem.budgets).all()
    assert problem.loss[np.arange(30), better].sum() <= problem.loss[np.arange(30), kept].sum()


def test_repair_says_that_it_is_stuck() -> None:
    problem = Problem(np.zeros((1, 2)), np.array([[[0, 3]], [[3, 0]]]), np.array([2, 2]))
    assert keep_budgets(problem, np.array([0]), np.zeros(2)) is None
