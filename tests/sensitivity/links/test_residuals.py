"""Residuals of a layer's other cells: dense Gaussian conditioning, the share that was put in, and what carries over."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

from sensitivity.links.residuals import condition

LEVEL = -np.log(4.0) * np.arange(4)
"""Formats a bit apart."""


def world(share: float, *, layers: int, seed: int) -> NDArray[np.float64]:
    """Residuals of standard deviation 0.3 with the correlation ``share^(1 + d)``."""
    apart = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    correlation = np.where(apart == 0, 1.0, share ** (1.0 + apart))
    return 0.3 * np.random.default_rng(seed).multivariate_normal(np.zeros(4), correlation, layers)


def test_open_cells_follow_from_exact_ones_as_by_dense_conditioning() -> None:
    whole = world(0.8, layers=30, seed=0)
    known = np.random.default_rng(1).random(whole.shape) < 0.5
    known[0] = [True, False, True, False]
    variance = np.full(whole.shape, 0.09)
    found = condition(np.where(known, whole, np.nan), variance, ~known, LEVEL)
    apart = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    dense = 0.09 * np.where(apart == 0, 1.0, found.share ** (1.0 + apart))
    gain = dense[[1, 3]][:, [0, 2]] @ np.linalg.inv(dense[[0, 2]][:, [0, 2]])
    np.testing.assert_allclose(found.shift[0, [1, 3]], gain @ whole[0, [0, 2]])
    left = dense[[1, 3]][:, [1, 3]] - gain @ dense[[0, 2]][:, [1, 3]]
    np.testing.assert_allclose(found.covariance[0][np.ix_([1, 3], [1, 3])], left)
    assert not found.covariance[0, 0].any()
    assert not found.shift[known].any()


def test_layers_together_are_what_each_is_by_itself() -> None:
    """Against one dense density a layer and value of ρ, and one dense conditioning a layer, with errors of all sizes."""
    random = np.random.default_rng(5)
    whole = world(0.8, layers=40, seed=5)
    known, opened = np.split(random.random((80, 4)) < 0.5, 2)
    opened &= ~known
    variance = random.choice([0.0, 0.04, 0.09, 9.0], whole.shape)
    found = condition(np.where(known, whole, np.nan), variance, opened, LEVEL)
    apart = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    exact = [np.flatnonzero(row & (spread > 0)) for row, spread in zip(known, variance, strict=True)]
    grid = np.linspace(0.0, 0.95, 20)
    densities = np.log1p(-grid)
    for number, share in enumerate(grid):
        dense = np.where(apart == 0, 1.0, share ** (1.0 + apart))
        for row, seen in enumerate(exact):
            covariance = dense[np.ix_(seen, seen)] * np.sqrt(np.outer(variance[row, seen], variance[row, seen]))
            if len(seen) > 1:
                densities[number] += multivariate_normal(np.zeros(len(seen)), covariance).logpdf(whole[row, seen])
    weight = np.exp(densities - densities.max())
    assert found.share == pytest.approx(weight @ grid / weight.sum(), rel=1e-9)
    dense = np.where(apart == 0, 1.0, found.share ** (1.0 + apart))
    for row, seen in enumerate(exact):
        own = dense * np.sqrt(np.outer(variance[row], variance[row]))
        gain = own[np.ix_(opened[row], seen)] @ np.linalg.inv(own[np.ix_(seen, seen)])
        np.testing.assert_allclose(found.shift[row, opened[row]], gain @ whole[row, seen], rtol=1e-9, atol=1e-12)
        left = own[np.ix_(opened[row], opened[row])] - gain @ own[np.ix_(seen, opened[row])]
        np.testing.assert_allclose(found.covariance[row][np.ix_(opened[row], opened[row])], left, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_the_share_is_found(share: float) -> None:
    whole = world(share, layers=300, seed=2)
    found = condition(whole, np.full(whole.shape, 0.09), np.zeros(whole.shape, dtype=bool), LEVEL)
    assert found.share == pytest.approx(share, abs=0.12)


def test_what_was_not_seen_is_foretold_better_with_its_neighbours() -> None:
    """And the claimed variance is the one that is found."""
    whole = world(0.9, layers=400, seed=3)
    known = np.random.default_rng(4).random(whole.shape) < 0.5
    found = condition(np.where(known, whole, np.nan), np.full(whole.shape, 0.09), ~known, LEVEL)
    left = np.square(whole - found.shift)[~known].mean()
    claimed = np.diagonal(found.covariance, axis1=1, axis2=2)[~known].mean()
    assert left < 0.65 * np.square(whole)[~known].mean()
    assert claimed == pytest.approx(left, rel=0.15)


def test_without_pairs_in_a_layer_little_is_believed_and_without_exact_cells_nothing_moves() -> None:
    residual = np.full((3, 4), np.nan)
    residual[0, 1] = 1.0
    found = condition(residual, np.full((3, 4), 0.09), ~np.isfinite(residual), LEVEL)
    assert 0 < found.share < 0.4
    assert 0 < found.shift[0, 0] < 0.16
    assert not found.shift[1:].any()
    unknown = condition(residual, np.full((3, 4), 0.09), ~np.isfinite(residual), np.array([np.nan, 0.0, 0.0, -1.0]))
    assert unknown.shift[0, 0] == 0
    assert unknown.shift[0, 2] > 0  # formats of one loss are neighbours, not the same
