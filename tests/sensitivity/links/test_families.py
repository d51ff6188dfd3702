"""Shapes of a link against dense references, and what every link keeps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensitivity.links.families import OFFSET_DEVIATION, Family, fit_family
from sensitivity.links.link import Link
from sensitivity.links.pairs import Pairs, log_variance, usable_pairs
from tests.sensitivity.links.worlds import FORMATS, world

SLOPED = (Family.POWER, Family.POWER_BY_FORMAT, Family.ISOTONIC)


def _exact_pairs(x: np.ndarray, y: np.ndarray, formats: np.ndarray | None = None) -> Pairs:
    none = np.zeros(len(x))
    return Pairs(np.exp(x), none, np.exp(y), none, np.full(len(x), "INT4_G64") if formats is None else formats)


@pytest.mark.parametrize("family", SLOPED)
def test_a_power_law_is_found_and_goes_on_beyond_the_sample(family: Family) -> None:
    x = np.linspace(-8, -1, 30)
    link = fit_family(family, _exact_pairs(x, 0.3 + 1.2 * x))
    assert link is not None
    beyond = np.array([-12.0, -4.0, 3.0])
    found = link.logarithm(beyond, np.full(3, "INT4_G64"))
    np.testing.assert_allclose(found, 0.3 + 1.2 * beyond, atol=0.02 if family is Family.POWER_BY_FORMAT else 1e-6)


@pytest.mark.parametrize("family", [Family.POWER, Family.POWER_BY_FORMAT, Family.SCALE, Family.SCALE_BY_FORMAT])
def test_a_line_is_the_dense_ridge_regression(family: Family) -> None:
    pairs, _ = world(3, factors=(0.6, 1, 1, 1.3)).pairs(40)
    link = fit_family(family, pairs)
    assert link is not None
    weight = 1 / (link.residual_variance + pairs.y_variance + link.slope**2 * pairs.x_variance)
    names = np.unique(pairs.formats) if "format" in family else np.array([], dtype=str)
    sloped = "power" in family
    table = np.column_stack([np.ones(len(pairs)), *([pairs.x] if sloped else []), *(pairs.formats == name for name in names)])
    prior = np.zeros((len(names), table.shape[1]))
    prior[:, 1 + sloped :] = np.eye(len(names)) / OFFSET_DEVIATION
    rows = np.vstack([np.sqrt(weight)[:, None] * table, prior])
    target = np.concatenate([np.sqrt(weight) * (pairs.y if sloped else pairs.y - pairs.x), np.zeros(len(names))])
    found = np.linalg.lstsq(rows, target)[0]
    expected = table @ found + (0 if sloped else pairs.x)
    np.testing.assert_allclose(link.logarithm(pairs.x, pairs.formats), expected, atol=2e-3)
    covariance = np.linalg.inv(rows.T @ rows)
    if sloped:
        assert link.slope_variance == pytest.approx(covariance[1, 1], rel=2e-2)


@pytest.mark.parametrize("family", list(Family))
def test_weighted_residuals_have_the_size_that_they_should(family: Family) -> None:
    pairs, _ = world(1, residual=0.3).pairs(60)
    link = fit_family(family, pairs)
    assert link is not None
    residual = pairs.y - link.logarithm(pairs.x, pairs.formats)
    weight = 1 / (link.residual_variance + pairs.y_variance + link.slope**2 * pairs.x_variance)
    assert 0.8 < float(weight @ np.square(residual)) / len(pairs) <= 1.01
    assert 0.15 < np.sqrt(link.residual_variance) < 0.45


def test_a_cell_with_a_large_error_moves_nothing() -> None:
    x = np.linspace(-6, -1, 20)
    clean = _exact_pairs(x, x)
    wrong = clean.exact.copy()
    wrong[3] *= 100
    error = np.zeros(20)
    error[3] = 1e6 * wrong[3]
    link = fit_family(Family.SCALE, Pairs(clean.cheap, clean.cheap_error, wrong, error, clean.formats))
    assert link is not None
    assert abs(link.knots[0, 1] - link.knots[0, 0]) < 1e-3


def test_losses_that_fall_have_no_link_that_rises() -> None:
    x = np.linspace(-6, -1, 20)
    pairs = _exact_pairs(x, -x)
    assert [fit_family(family, pairs) is None for family in SLOPED] == [True] * 3


def test_one_loss_alone_determines_no_slope() -> None:
    pairs = _exact_pairs(np.full(12, -3.0), np.linspace(-4, -2, 12))
    assert [fit_family(family, pairs) is None for family in SLOPED] == [True] * 3
    assert fit_family(Family.SCALE, pairs) is not None


def test_a_format_that_the_sample_lacks_takes_no_offset_and_a_wide_error() -> None:
    pairs, _ = world(2, factors=(0.4, 1, 1, 1)).pairs(60)
    link = fit_family(Family.SCALE_BY_FORMAT, pairs)
    assert link is not None
    x = np.array([-5.0, -5.0])
    formats = np.array(["INT2_G64", "INT8_G64"])
    low, other = link.logarithm(x, formats)
    assert low - other == pytest.approx(link.offsets["INT2_G64"])
    known, unknown = link.variance(x, np.zeros(2), formats)
    assert unknown - known > 0.9 * OFFSET_DEVIATION**2


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(list(Family)), st.integers(10, 40))
def test_every_link_rises_and_is_finite(seed: int, family: Family, count: int) -> None:
    pairs, _ = world(seed, noise=0.6, residual=0.8, factors=(0.5, 1, 1, 2)).pairs(count, seed=seed)
    link = fit_family(family, pairs)
    if link is None:
        return
    cheap = np.exp(np.linspace(-40, 10, 200))
    for name in (*FORMATS, "FP8"):
        loss, error = link.losses(cheap, 0.3 * cheap, np.full(200, name))
        assert np.isfinite(loss).all()
        assert np.isfinite(error).all()
        assert (np.diff(link.logarithm(np.log(cheap), np.full(200, name))) >= 0).all()


def test_a_loss_of_zero_or_less_is_zero() -> None:
    link = Link("scale", np.array([[0.0, np.log(2.0)]]), 1.0)
    loss, error = link.losses(np.array([0.0, -1e-3, 1e-3]), np.array([np.nan, np.nan, np.nan]), np.full(3, "INT4_G64"))
    np.testing.assert_allclose(loss, [0, 0, 2e-3])
    np.testing.assert_allclose(error, [0, 0, 0], atol=1e-12)


def test_the_identity_keeps_losses_and_adds_the_residual_to_their_errors() -> None:
    link = Link("identity", np.zeros((1, 2)), 1.0, residual_variance=np.log(1 + 0.3**2))
    loss, error = link.losses(np.array([0.5]), np.array([0.2]), np.array(["INT4_G64"]))
    np.testing.assert_allclose(loss, 0.5)
    np.testing.assert_allclose(error, 0.5 * np.sqrt((1 + 0.3**2) * (1 + 0.4**2) - 1))


def test_only_pairs_of_two_positive_numbers_are_used() -> None:
    cheap = np.array([1.0, 0.0, np.nan, 2.0, 3.0])
    exact = np.array([1.0, 1.0, 1.0, -1.0, 4.0])
    pairs = usable_pairs(
        cheap, exact, np.array(list("abcde")), cheap_error=np.array([np.nan] * 5), exact_error=np.array([0.1] * 5)
    )
    assert (len(pairs), pairs.formats.tolist(), pairs.cheap_error.tolist()) == (2, ["a", "e"], [0.0, 0.0])


def test_the_variance_of_a_logarithm_does_not_overflow() -> None:
    found = log_variance(np.array([1.0, 1e-300, 1.0]), np.array([0.1, 1e300, 0.0]))
    np.testing.assert_allclose(found[0], np.log(1.01))
    assert np.isfinite(found).all()
    assert found[2] == 0
