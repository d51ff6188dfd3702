"""Water-filling against its golden values, the conditions of optimality, a general optimiser and plain bisection."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from solvers.errors import ProblemError
from solvers.rates.components import Components, uniform_gain
from solvers.rates.water_filling import kkt_residual, water_fill, wrong_beta_regret
from solvers.solution import Status

GOLDEN = Components.of([1.0, 4.0, 16.0, 256.0])


@pytest.mark.parametrize(
    ("budget", "bits", "loss"),
    [
        (8.0, [0.25, 1.25, 2.25, 4.25], 2.0 * np.sqrt(2.0)),
        (4.0, [0.0, 0.0, 1.0, 3.0], 13.0),
        (4.5, [0.0, 1 / 6, 7 / 6, 19 / 6], 1 + 3 * 2 ** (5 / 3)),
    ],
)
def test_golden_values(budget: float, bits: list[float], loss: float) -> None:
    filled = water_fill(GOLDEN, budget)
    assert filled.bits == pytest.approx(bits, abs=1e-14)
    assert filled.loss == pytest.approx(loss, rel=1e-14)
    assert filled.status is Status.OPTIMAL
    assert filled.size == pytest.approx(budget, rel=1e-15)
    between = filled.side == 0
    assert filled.losses[between] * np.log(4.0) == pytest.approx(filled.multiplier, rel=1e-14)
    assert filled.equal_loss_cv < 1e-15


def test_each_component_of_the_golden_values_loses_the_same() -> None:
    filled = water_fill(GOLDEN, 8.0)
    assert filled.losses == pytest.approx([0.5 * np.sqrt(2.0)] * 4, rel=1e-14)
    assert filled.loss / GOLDEN.losses(np.full(4, 2.0)).sum() == pytest.approx(uniform_gain(GOLDEN.scale), rel=1e-14)
    assert GOLDEN.losses(np.full(4, 2.0)).sum() == 17.3125


def test_below_the_floor_is_infeasible_and_says_the_floor() -> None:
    components = Components.of([1.0, 2.0], weights=[3.0, 5.0], low=2.0, high=8.0, side_bits=[0.5, 0.25])
    filled = water_fill(components, 18.0)
    assert (filled.status, filled.floor) == (Status.INFEASIBLE, 3 * 2.5 + 5 * 2.25)
    at_floor = water_fill(components, filled.floor)
    assert (at_floor.status, at_floor.bits.tolist(), at_floor.kkt) == (Status.OPTIMAL, [2.0, 2.0], 0.0)


def test_above_the_ceiling_nothing_binds() -> None:
    components = Components.of([1.0, 0.0], low=1.0, high=[8.0, 4.0])
    for budget in (9.0, 100.0, np.inf):
        filled = water_fill(components, budget)
        assert (filled.bits.tolist(), filled.multiplier, filled.side.tolist()) == ([8.0, 1.0], 0.0, [1, -1])
    assert water_fill(components, 8.99).multiplier > 0


def test_no_component_one_component_and_fixed_ones() -> None:
    assert water_fill(Components.of([]), 0.0).status is Status.OPTIMAL
    assert water_fill(Components.of([]), -1.0).status is Status.INFEASIBLE
    assert water_fill(Components.of([3.0], weights=2.0), 7.0).bits == pytest.approx([3.5])
    fixed = water_fill(Components.of([3.0, 1.0], low=[2.0, 0.0], high=[2.0, 9.0]), 5.0)
    assert (fixed.bits.tolist(), fixed.side.tolist()) == ([2.0, 3.0], [-1, 0])


def test_side_bits_are_paid_from_the_budget() -> None:
    """4.5 bits with 0.5 bits of scales a weight leave 4 (papers.md §18.9)."""
    components = Components.of([64.0, 128.0], weights=[64.0, 128.0], side_bits=32 / 64)
    assert water_fill(components, 4.5 * 192).bits == pytest.approx([4.0, 4.0])


wild = st.floats(-30, 30).map(lambda exponent: 10.0**exponent)


@st.composite
def rate_problems(draw: st.DrawFn) -> tuple[Components, float]:
    count = draw(st.integers(1, 8))

    def several(values: st.SearchStrategy[float]) -> list[float]:
        return draw(st.lists(values, min_size=count, max_size=count))

    low = np.array(several(st.sampled_from([0.0, 1.0, 2.0, 2.585]) | st.floats(-8, 32)))
    components = Components.of(
        several(wild | st.just(0.0)),
        weights=several(wild if draw(st.booleans()) else st.sampled_from([1.0, 64.0, 4096.0])),
        beta=several(st.floats(1.01, 300)) if draw(st.booleans()) else draw(st.sampled_from([2.0, 3.6, 4.0, 5.3])),
        low=low,
        high=low + np.array(several(st.sampled_from([0.0, 1e-9, 1.0, 6.0, 32.0]))),
        side_bits=several(st.sampled_from([0.0, 0.25, 4.5])),
    )
    share = draw(st.sampled_from([0.0, 1.0, 0.5, 1e-9, 1 - 1e-9]) | st.floats(0, 1))
    top = components.size(components.high)
    return components, components.floor + (top - components.floor) * share


@settings(max_examples=150, deadline=None)
@given(rate_problems())
def test_property_conditions_of_optimality(case: tuple[Components, float]) -> None:
    components, budget = case
    filled = water_fill(components, budget)
    assert filled.status is Status.OPTIMAL
    assert filled.kkt <= 1e-12
    assert filled.kkt == kkt_residual(components, budget, filled.bits, filled.log_multiplier)
    assert (filled.bits >= components.low).all()
    assert (filled.bits <= components.high).all()
    assert filled.equal_loss_cv <= 1e-12


@pytest.mark.parametrize("seed", range(8))
def test_equals_bisection_on_the_multiplier(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = 40
    components = Components.of(
        np.exp(rng.normal(0, 3, count)),
        weights=np.exp(rng.uniform(0, 8, count)),
        beta=rng.uniform(3.6, 5.3, count),
        low=rng.integers(0, 3, count),
        high=8.0,
    )
    budget = rng.uniform(3, 6) * components.weights.sum()

    def bits(level: float) -> np.ndarray:
        rate = components.scale * np.log(components.beta) / components.weights
        return np.clip((np.log(rate) - level) / np.log(components.beta), components.low, components.high)

    level = brentq(lambda at: components.size(bits(at)) - budget, -60, 60, xtol=1e-13, rtol=1e-14)
    filled = water_fill(components, budget)
    assert filled.bits == pytest.approx(bits(level), abs=1e-10)
    assert filled.log_multiplier == pytest.approx(level, abs=1e-10)


def test_no_neighbour_is_better() -> None:
    rng = np.random.default_rng(0)
    components = Components.of(np.exp(rng.normal(0, 2, 12)), weights=rng.integers(1, 9, 12), low=1.0, high=6.0)
    filled = water_fill(components, 3.0 * components.weights.sum())
    for _ in range(200):
        step = rng.normal(0, 0.3, 12)
        other = np.clip(filled.bits + step, 1.0, 6.0)
        other -= max(components.size(other) - filled.size, 0.0) / components.weights.sum()
        if (other >= 1.0).all():
            assert components.losses(other).sum() >= filled.loss * (1 - 1e-12)


def test_equal_loss_shows_where_beta_is_common_and_sizes_are_not() -> None:
    components = Components.of([1.0, 5.0, 30.0], weights=[10.0, 200.0, 7.0], beta=3.86)
    filled = water_fill(components, 900.0)
    per_weight = filled.losses / components.weights
    assert per_weight == pytest.approx(per_weight[0], rel=1e-13)
    assert filled.equal_loss_cv < 1e-14
    assert filled.loss == pytest.approx(
        uniform_gain(components.scale, components.weights) * components.losses(np.full(3, 900 / 217)).sum(), rel=1e-12
    )


def test_a_million_components_keep_the_conditions() -> None:
    rng = np.random.default_rng(1)
    components = Components.of(
        np.exp(rng.normal(0, 1.5, 10**6)),
        weights=np.exp(rng.uniform(11, 18, 10**6)),
        beta=rng.uniform(3.6, 5.3, 10**6),
        low=2,
        high=8,
    )
    filled = water_fill(components, 3.7 * components.weights.sum())
    assert filled.kkt <= 1e-12
    assert 0.5 < (filled.side == 0).mean() < 1


@pytest.mark.parametrize("true_beta", [3.6, 5.3])
def test_planning_with_the_wrong_beta_has_its_regret_reported(true_beta: float) -> None:
    rng = np.random.default_rng(2)
    truth = Components.of(np.exp(rng.normal(0, 2, 64)), beta=true_beta, high=8.0)
    regret = wrong_beta_regret(truth, 3 * 64.0, 4.0)
    assert 1e-4 < regret.relative < 1
    assert wrong_beta_regret(truth, 3 * 64.0, true_beta).relative == pytest.approx(0.0, abs=1e-13)
    assert wrong_beta_regret(truth, 2 * 64.0, 4.0, measured_at=3.0).relative > 0


def test_mixed_betas_taken_for_one_can_invert_the_order() -> None:
    """Measured at 4 bits both lose the same, but one falls faster: at a small budget it needs fewer bits, not the same."""
    beta = np.array([3.6, 5.3])
    truth = Components.of(beta**4.0, beta=beta)
    best = water_fill(truth, 12.0)
    assert best.bits[0] > best.bits[1]
    at_zero = wrong_beta_regret(truth, 12.0, 4.0)
    at_four = wrong_beta_regret(truth, 12.0, 4.0, measured_at=4.0)
    assert at_zero.relative > at_four.relative > 0
    with pytest.raises(ProblemError, match="below"):
        wrong_beta_regret(truth, -1.0, 4.0)


def test_the_gain_is_the_ratio_of_the_means() -> None:
    rng = np.random.default_rng(3)
    scale = np.exp(rng.normal(0, 2, 1000))
    assert uniform_gain(scale) == pytest.approx(np.exp(np.log(scale).mean()) / scale.mean())
    assert uniform_gain(scale * 1e-280) == pytest.approx(uniform_gain(scale))
    assert uniform_gain([2.0, 2.0]) == 1.0
    assert uniform_gain([0.0, 2.0]) == 0.0
    assert uniform_gain([0.0, 0.0]) == uniform_gain([]) == 1.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scale": [-1.0]}, "scale"),
        ({"scale": [np.nan]}, "scale"),
        ({"weights": 0.0}, "weights"),
        ({"beta": 1.0}, "does not fall"),
        ({"low": 3.0, "high": 2.0}, "low must be"),
        ({"low": -np.inf}, "low must be"),
        ({"side_bits": -1.0}, "side_bits"),
        ({"weights": [1.0, 2.0, 3.0]}, "one number or 1 numbers"),
    ],
)
def test_bad_numbers_are_refused(wrong: dict[str, float | list[float]], message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        Components.of(**{"scale": [1.0], **wrong})


def test_a_budget_that_is_no_number_is_refused() -> None:
    with pytest.raises(ProblemError, match="NaN"):
        water_fill(GOLDEN, np.nan)


def test_bits_without_a_limit_and_weights_of_any_scale() -> None:
    """The bracket of the level comes from what one component alone could take, so that nothing overflows."""
    components = Components.of([2e-124, 7e59, 9e160], weights=7e8, beta=[23.0, 1.000001, 1.003], low=-3.0, high=np.inf)
    for budget in (components.floor + 1e-3, -6e9, 0.0, 1e12):
        found = water_fill(components, budget)
        assert found.kkt < 1e-9
        assert found.size == pytest.approx(budget, rel=1e-12, abs=1e-3)


def test_an_endless_budget_without_limits_is_refused() -> None:
    with pytest.raises(ProblemError, match="limit one of them"):
        water_fill(Components.of([1.0, 2.0]), np.inf)
