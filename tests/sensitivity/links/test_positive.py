"""Losses that luck brought close to zero: against integrals of the density, and against truths that are drawn."""

import numpy as np
import pytest
from scipy.integrate import quad

from sensitivity.links.positive import above_zero


@pytest.mark.parametrize("ratio", [0.9, 0.1, 0.0, -0.5, -3.0, -6.0])
def test_it_is_the_normal_distribution_cut_off_at_zero(ratio: float) -> None:
    error = 0.02
    moments = [quad(lambda x, k=k: x**k * np.exp(-((x - ratio) ** 2) / 2), 0, 12, epsabs=0)[0] for k in range(3)]
    mean = moments[1] / moments[0]
    loss, spread = above_zero(np.array([ratio * error]), np.array([error]))
    assert loss[0] == pytest.approx(error * mean)
    assert spread[0] == pytest.approx(error * np.sqrt(moments[2] / moments[0] - mean**2), rel=1e-5)
    assert 0 < spread[0] < loss[0]


def test_others_stay_bit_for_bit() -> None:
    """A mean of samples above zero has no larger error than itself; what has no number or no error says nothing of luck."""
    samples = np.random.default_rng(0).exponential(size=(50, 7)) ** 4
    samples[:10, 1:] = 0  # one sample is all of the mean: the error is as large, but for rounding
    mean, error = samples.mean(axis=1), samples.std(axis=1, ddof=1) / np.sqrt(7)
    loss = np.concatenate([mean, [0.1, 0.0, -1.0, np.nan, 1.0, np.inf]])
    spread = np.concatenate([error, [0.0, 0.0, np.nan, 1.0, np.inf, 1.0]])
    found = above_zero(loss, spread)
    np.testing.assert_array_equal(found[0], loss)
    np.testing.assert_array_equal(found[1], spread)
    assert (error <= mean * (1 + 1e-12)).all()


def test_far_below_zero_is_finite() -> None:
    loss, error = above_zero(np.array([-1e3, -8.0]), np.ones(2))
    assert loss[0] == loss[1] > 0
    assert error[0] == error[1] > 0


def test_truths_are_what_is_believed_of_them_on_average() -> None:
    """Of truths that are as likely anywhere above zero, those behind losses with a larger error."""
    random = np.random.default_rng(1)
    truth = random.uniform(0, 10, 400_000)
    seen = truth + random.standard_normal(len(truth))
    drowned = seen < 1
    loss, error = above_zero(seen[drowned], np.ones(int(drowned.sum())))
    assert truth[drowned].mean() == pytest.approx(loss.mean(), rel=0.01)
    assert np.square(truth[drowned] - loss).mean() == pytest.approx(np.square(error).mean(), rel=0.02)
