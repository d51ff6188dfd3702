"""The rate problem under several budgets against water-filling, its own optimality conditions and a general optimiser."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from solvers.errors import ProblemError
from solvers.rates.components import Components
from solvers.rates.several_budgets import rate_bound, rate_plan
from solvers.rates.water_filling import water_fill
from solvers.solution import Status


def layers(count: int, seed: int, *, unit: float = 1.0) -> tuple[Components, np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = np.exp(rng.uniform(np.log(1e5), np.log(5e7), count))
    scale = unit * np.exp(rng.normal(0, 1.5, count))
    components = Components.of(
        scale, weights=weights, beta=rng.uniform(3.6, 5.3, count), low=2, high=8, side_bits=rng.choice([0.0, 0.25], count)
    )
    return components, np.stack([weights, weights * np.exp(rng.normal(0, 1, count)), rng.integers(0, 2, count) * 1.0])


@pytest.mark.parametrize("count", [1, 5, 84, 400])
@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e30])
def test_one_budget_agrees_with_water_filling(count: int, unit: float) -> None:
    components, rows = layers(count, count, unit=unit)
    for share in (0.05, 0.4, 0.95):
        budget = components.floor + share * (components.size(components.high) - components.floor)
        plan, filled = rate_plan(components, rows[:1], [budget]), water_fill(components, budget)
        assert plan.status is Status.OPTIMAL
        assert plan.loss == pytest.approx(filled.loss, rel=1e-6)
        assert plan.bits == pytest.approx(filled.bits, abs=1e-4)
        assert plan.multipliers == pytest.approx([filled.multiplier], rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_several_budgets_keep_the_conditions_of_optimality(seed: int) -> None:
    components, rows = layers(60, seed)
    budgets = (rows @ np.full(60, 4.0)) * np.array([1.0, 0.95, 0.9])
    plan = rate_plan(components, rows, budgets)
    assert plan.status is Status.OPTIMAL
    assert (plan.sizes <= budgets * (1 + 1e-12)).all()
    assert (plan.multipliers >= 0).all()
    assert plan.multipliers * (budgets - plan.sizes) == pytest.approx([0, 0, 0], abs=1e-9 * plan.loss)
    marginal = components.losses(plan.bits) * np.log(components.beta)
    price = plan.multipliers @ rows
    between = (plan.bits > 2 + 1e-9) & (plan.bits < 8 - 1e-9)
    assert marginal[between] == pytest.approx(price[between], rel=1e-6)
    assert (marginal[plan.bits <= 2 + 1e-9] <= price[plan.bits <= 2 + 1e-9] * (1 + 1e-6)).all()
    assert (marginal[plan.bits >= 8 - 1e-9] >= price[plan.bits >= 8 - 1e-9] * (1 - 1e-6)).all()
    assert plan.lower_bound == pytest.approx(rate_bound(components, rows, budgets, plan.multipliers), rel=1e-12)


def test_a_general_optimiser_finds_nothing_better() -> None:
    components, rows = layers(6, 3)
    rows, budgets = rows[:2] / 1e6, (rows[:2] @ np.full(6, 4.5)) * np.array([1.0, 0.9]) / 1e6
    plan = rate_plan(components, rows, budgets)
    other = minimize(
        lambda bits: components.losses(bits).sum() * 1e3,
        np.full(6, 2.5),
        bounds=[(2.0, 8.0)] * 6,
        constraints=[{"type": "ineq", "fun": lambda bits: budgets - rows @ (bits + components.side_bits)}],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert (budgets - rows @ (other.x + components.side_bits) >= -1e-7).all()
    assert plan.loss == pytest.approx(other.fun / 1e3, rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.0, 1.1), st.floats(0.0, 1.1))
def test_property_within_the_budgets_and_above_the_bound(seed: int, first: float, second: float) -> None:
    components, rows = layers(5, seed)
    rows = rows[:2]
    floors = rows @ (components.low + components.side_bits)
    budgets = floors + np.array([first, second]) * (rows @ (components.high - components.low))
    plan = rate_plan(components, rows, budgets)
    assert plan.status is Status.OPTIMAL
    assert (plan.sizes <= budgets * (1 + 1e-12)).all()
    assert plan.gap <= 1e-6
    assert rate_bound(components, rows, budgets, plan.multipliers) <= plan.loss * (1 + 1e-12)


def test_any_multipliers_give_a_bound() -> None:
    components, rows = layers(20, 0)
    budgets = rows @ np.full(20, 4.0)
    plan = rate_plan(components, rows, budgets)
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert rate_bound(components, rows, budgets, plan.multipliers * rng.uniform(0, 3, 3)) <= plan.loss * (1 + 1e-12)
    assert rate_bound(components, rows, budgets, np.zeros(3)) == pytest.approx(components.losses(components.high).sum())


def test_infeasible_says_the_floors() -> None:
    plan = rate_plan(Components.of([1.0, 1.0], low=2.0, high=8.0), [[1.0, 1.0], [2.0, 0.0]], [5.0, 3.0])
    assert (plan.status, plan.floors.tolist(), plan.gap) == (Status.INFEASIBLE, [4.0, 4.0], math.inf)


def test_nothing_binds_and_everything_blocked() -> None:
    components = Components.of([1.0, 0.0], low=2.0, high=8.0)
    free = rate_plan(components, np.ones((2, 2)), [16.0, 99.0])
    assert (free.bits.tolist(), free.multipliers.tolist(), free.gap) == ([8.0, 2.0], [0.0, 0.0], 0.0)
    blocked = rate_plan(components, np.ones((2, 2)), [4.0, 99.0])
    assert (blocked.bits.tolist(), blocked.status) == ([2.0, 2.0], Status.OPTIMAL)
    assert blocked.gap == pytest.approx(0.0, abs=1e-12)


def test_a_row_without_room_blocks_only_what_it_charges() -> None:
    plan = rate_plan(Components.of([1.0, 1.0], low=2.0, high=8.0), [[1.0, 1.0], [1.0, 0.0]], [7.0, 2.0])
    assert plan.bits == pytest.approx([2.0, 5.0])
    assert plan.status is Status.OPTIMAL


def test_components_without_a_limit() -> None:
    plan = rate_plan(Components.of([1.0, 4.0, 16.0, 256.0]), np.ones((1, 4)), [8.0])
    assert plan.bits == pytest.approx([0.25, 1.25, 2.25, 4.25], abs=1e-6)
    with pytest.raises(ProblemError, match="component 1 has no limit"):
        rate_plan(Components.of([1.0, 1.0]), [[1.0, 0.0]], [3.0])


def test_without_time_the_bits_keep_the_budgets_and_the_gap_is_honest() -> None:
    components, rows = layers(300, 1)
    budgets = (rows @ np.full(300, 4.0)) * np.array([1.0, 0.9, 0.9])
    hurried, best = rate_plan(components, rows, budgets, deadline=0.0), rate_plan(components, rows, budgets)
    assert hurried.status in (Status.LIMIT, Status.FEASIBLE, Status.OPTIMAL)
    assert (hurried.sizes <= budgets * (1 + 1e-12)).all()
    assert hurried.lower_bound <= best.loss * (1 + 1e-9)
    assert hurried.loss >= best.loss * (1 - 1e-9)


@pytest.mark.parametrize(
    ("rows", "budgets"),
    [([1.0, 1.0], [3.0]), ([[1.0, -1.0]], [3.0]), ([[1.0, 1.0]], [np.nan]), ([[1.0, 1.0]], [[3.0]]), ([[1.0]], [3.0])],
)
def test_numbers_that_do_not_fit_are_refused(rows: list[list[float]], budgets: list[float]) -> None:
    with pytest.raises(ProblemError):
        rate_plan(Components.of([1.0, 1.0], high=8.0), rows, budgets)
