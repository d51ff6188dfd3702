"""Steady and unsteady cells: which they are, and that what is claimed of their errors comes to what is found."""

import numpy as np
import pytest

from sensitivity.links.steadiness import steadiness, told_apart, unsteady_cells


def test_a_cell_is_unsteady_by_its_error_beside_the_others() -> None:
    errors = np.array([[0.1, 0.12, 0.5], [0.09, np.nan, 0.0], [0.1, 0.19, 0.25]])
    assert np.array_equal(np.argwhere(unsteady_cells(errors)), [[0, 2], [2, 2]])
    assert not unsteady_cells(np.zeros((2, 2))).any()
    known, unsteady = np.ones(14, dtype=bool), np.arange(14) < 5
    assert not told_apart(known, unsteady)
    assert told_apart(np.ones(15, dtype=bool), np.arange(15) < 5)
    assert not told_apart(np.ones(15, dtype=bool), np.arange(15) < 4)


def test_errors_that_both_probes_share_are_taken_off_and_unlucky_samples_too() -> None:
    """Steady cells are half as far off as claimed; unsteady ones are too high by a factor, and as far off as claimed about it."""
    random = np.random.default_rng(0)
    unsteady = np.arange(400) < 100
    variance = np.where(unsteady, 0.16, 0.0144)
    residual = np.where(unsteady, random.normal(-0.6, 0.4, 400), random.normal(0, 0.06, 400))
    residual[::2] = np.nan
    found = steadiness(residual, variance, unsteady, apart=True)
    assert found.offset == pytest.approx(-0.6, abs=0.1)
    assert found.scale == pytest.approx(0.25, abs=0.1)
    assert found.unsteady_scale == pytest.approx(1.0, abs=0.3)
    together = steadiness(residual, variance, unsteady, apart=False)
    assert together.offset == 0
    assert together.scale == together.unsteady_scale > 2 * found.scale


def test_few_cells_change_little() -> None:
    residual = np.array([0.001, -0.001, np.nan])
    found = steadiness(residual, np.full(3, 0.04), np.zeros(3, dtype=bool), apart=False)
    assert 0.8 < found.scale < 1
    assert steadiness(np.full(3, np.nan), np.full(3, 0.04), np.zeros(3, dtype=bool), apart=False).scale == 1
