"""Shares of a damage that saturates, and the costs that they come from."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sensitivity.errors import NonFiniteError
from sensitivity.saturation import saturating_costs


def shapley_by_integration(a: np.ndarray) -> np.ndarray:
    """``a_i ∫₀¹ Π_{j≠i} (1 − t a_j) dt`` as polynomials, exact to rounding."""
    shares = []
    for i, own in enumerate(a):
        product = np.polynomial.Polynomial([1.0])
        for j, other in enumerate(a):
            if j != i:
                product *= np.polynomial.Polynomial([1.0, -other])
        shares.append(own * product.integ()(1.0))
    return np.array(shares)


def test_three_layers_of_the_paper() -> None:
    damages = np.array([0.1, 0.2, 0.3])
    shares = shapley_by_integration(damages)
    np.testing.assert_allclose(shares, [0.077, 0.162, 0.257], atol=5e-4)
    np.testing.assert_allclose(-np.expm1(-saturating_costs(shares)), damages, rtol=1e-10)


@example([0.5] * 6)  # close to the ceiling the fixed point creeps
@given(st.lists(st.floats(-0.2, 0.6), min_size=1, max_size=8))
def test_damages_come_back_from_their_shares_and_costs_add_up(damages: list[float]) -> None:
    a = np.array(damages)
    shares = shapley_by_integration(a)
    if shares.sum() > 0.99:
        return
    costs = saturating_costs(shares)
    np.testing.assert_allclose(-np.expm1(-costs), a, atol=1e-8)
    for size in range(len(a) + 1):
        for chosen in itertools.islice(itertools.combinations(range(len(a)), size), 5):
            damage = 1 - np.prod(1 - a[list(chosen)])
            assert -np.expm1(-costs[list(chosen)].sum()) == pytest.approx(damage, abs=1e-7)


def test_small_shares_are_costs_already() -> None:
    shares = np.full(200, 1e-6)
    np.testing.assert_allclose(saturating_costs(shares), shares, rtol=2e-4)


def test_nothing_costs_nothing() -> None:
    assert np.array_equal(saturating_costs(np.zeros(3)), np.zeros(3))
    assert saturating_costs(np.zeros(0)).shape == (0,)


@pytest.mark.parametrize("shares", [[0.5, 0.5], [np.nan], [np.inf]])
def test_a_damage_at_its_ceiling_is_refused(shares: list[float]) -> None:
    with pytest.raises(NonFiniteError, match="raise the headroom"):
        saturating_costs(np.array(shares))
