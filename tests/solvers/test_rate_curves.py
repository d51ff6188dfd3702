"""Fitted curves against numpy's polynomial fit, cell by cell."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.errors import ProblemError
from solvers.rates.curves import fit_curves

BITS = np.array([2.0, 3.0, 4.0, 6.0, 8.0])


def noisy(classes: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scale, beta = np.exp(rng.normal(0, 3, (classes, 1))), rng.uniform(3.6, 5.3, (classes, 1))
    loss: np.ndarray = scale * beta**-BITS * np.exp(rng.normal(0, 0.2, (classes, 5)))
    return loss


def test_an_exact_curve_is_found_exactly() -> None:
    curves = fit_curves(BITS, np.array([[7.0], [1e-30], [1e30]]) * np.array([[3.86], [4.0], [5.3]]) ** -BITS)
    assert curves.scale == pytest.approx([7.0, 1e-30, 1e30], rel=1e-12)
    assert curves.beta == pytest.approx([3.86, 4.0, 5.3], rel=1e-13)
    assert curves.residual == pytest.approx([0, 0, 0], abs=1e-13)
    assert curves.r_squared == pytest.approx([1, 1, 1], abs=1e-13)
    assert curves.usable.all()
    assert not curves.rising.any()
    assert curves.losses(np.full(3, 2.0)) == pytest.approx(np.array([7.0, 1e-30, 1e30]) * np.array([3.86, 4.0, 5.3]) ** -2)
    assert curves.losses(np.full((3, 2), 2.0)).shape == (3, 2)


def test_equals_the_fit_of_numpy() -> None:
    loss = noisy(50, 0)
    curves = fit_curves(BITS, loss)
    for i in range(50):
        slope, intercept = np.polyfit(BITS, np.log(loss[i]), 1)
        rest = np.log(loss[i]) - (intercept + slope * BITS)
        assert curves.log_scale[i] == pytest.approx(intercept, abs=1e-11)
        assert curves.beta[i] == pytest.approx(np.exp(-slope), rel=1e-12)
        assert curves.residual[i] == pytest.approx(np.sqrt((rest**2).mean()), rel=1e-9)
        assert curves.r_squared[i] == pytest.approx(1 - (rest**2).sum() / ((np.log(loss[i]) - np.log(loss[i]).mean()) ** 2).sum())


def test_what_is_no_point_is_left_out_and_counted() -> None:
    loss = np.array([[1.0, np.nan, 0.25, np.inf, 0.0], [1.0, -1.0, 0.25, 0.0, 0.0]])
    curves = fit_curves(np.array([1.0, 2.0, 2.0, 3.0, 4.0]), loss)
    assert (curves.used.tolist(), curves.left_out.tolist()) == ([2, 2], [3, 3])
    assert curves.beta == pytest.approx([4.0, 4.0])
    own_bits = np.array([[1.0, np.nan, 2.0, 3.0, 4.0]] * 2)
    assert fit_curves(own_bits, loss).used.tolist() == [2, 2]


def test_flags() -> None:
    loss = np.array([[4.0, 2.0, 1.0], [4.0, 1.0, 2.0], [1.0, 2.0, 4.0], [1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    curves = fit_curves(np.array([1.0, 2.0, 3.0]), loss)
    assert curves.rising.tolist() == [False, True, True, False, False, False]
    assert curves.flat.tolist() == [False, False, True, True, False, False]
    assert curves.too_few.tolist() == [False, False, False, False, True, True]
    assert curves.usable.tolist() == [True, True, False, False, False, False]
    assert np.isnan(curves.beta[4:]).all()
    assert np.isnan(curves.log_scale[4:]).all()
    assert curves.r_squared[3] == 1.0
    twice_the_same_bits = fit_curves(np.array([2.0, 2.0]), np.array([[1.0, 0.5]]))
    assert twice_the_same_bits.too_few.tolist() == [True]


def test_pooled_is_the_least_squares_of_one_slope_and_many_intercepts() -> None:
    loss = noisy(20, 1)
    loss[3, 1:] = np.nan
    curves = fit_curves(BITS, loss, pooled=True)
    rows, columns = np.nonzero(np.isfinite(loss))
    design = np.zeros((rows.size, 21))
    design[np.arange(rows.size), rows], design[:, 20] = 1.0, BITS[columns]
    best = np.linalg.lstsq(design, np.log(loss[rows, columns]), rcond=None)[0]
    assert curves.log_scale == pytest.approx(best[:20], abs=1e-10)
    assert curves.beta == pytest.approx(np.exp(-best[20]), rel=1e-11)
    assert not curves.too_few[3]
    assert curves.residual[3] == pytest.approx(0.0, abs=1e-12)


def test_pooled_without_any_slope_has_no_curve() -> None:
    assert fit_curves(np.array([2.0, 3.0]), np.array([[1.0, 0.0]]), pooled=True).too_few.tolist() == [True]


def test_no_class_and_no_item() -> None:
    assert fit_curves(BITS, np.empty((0, 5))).beta.shape == (0,)
    assert fit_curves(np.empty(0), np.empty((2, 0))).too_few.tolist() == [True, True]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(-30, 30), st.sampled_from([1.0, 0.125, 1e6]))
def test_property_units_only_scale(seed: int, exponent: int, bit_unit: float) -> None:
    loss = noisy(4, seed)
    first, second = fit_curves(BITS, loss), fit_curves(BITS * bit_unit, loss * 10.0**exponent)
    assert second.log_scale - first.log_scale == pytest.approx(exponent * np.log(10.0), abs=1e-9)
    assert np.log(second.beta) * bit_unit == pytest.approx(np.log(first.beta), rel=1e-9)
    assert second.residual == pytest.approx(first.residual, rel=1e-6)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ProblemError, match="do not fit"):
        fit_curves(np.ones(3), np.ones((2, 4)))
