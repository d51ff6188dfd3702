"""Cheap losses before they are linked: above zero first, then freed of luck."""

from dataclasses import replace

import numpy as np
import pytest

from planner.curves import Curves
from planner.services.expected_curves import expected_curves
from planner.services.linked_curves import cheap_curves
from sensitivity.formats.registry import get_format
from sensitivity.statistics import CellStatus

FORMATS = tuple(get_format(name) for name in ("INT2_G64", "INT3_G64", "INT4_G64", "INT6_G64"))


def curves(samples: np.ndarray) -> Curves:
    """Means and standard errors over the first axis of (samples, layers, formats)."""
    loss, error = samples.mean(axis=0), samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    names = tuple(f"layer.{i}" for i in range(loss.shape[0]))
    return Curves(names, FORMATS, loss, error, np.full(loss.shape, CellStatus.MEASURED.value))


def heavy(seed: int) -> np.ndarray:
    """Samples above zero that few dominate, of 40 layers whose losses differ by much."""
    random = np.random.default_rng(seed)
    true = np.exp(random.normal(0, 4, (40, 1))) * 4.0 ** -np.array([fmt.num_bits for fmt in FORMATS])
    drawn: np.ndarray = true * random.exponential(size=(8, *true.shape)) ** 5
    return drawn


@pytest.mark.parametrize("shrinkage", [True, False])
def test_losses_of_samples_above_zero_are_only_shrunk(shrinkage: bool) -> None:
    """Though an expected loss may be less certain than any mean of such samples can be."""
    measured = curves(heavy(0))
    expected = expected_curves("fisher", measured)[0]
    assert (expected.standard_error > expected.loss).any()
    found, wanted = cheap_curves("fisher", measured, shrinkage=shrinkage), expected if shrinkage else measured
    np.testing.assert_array_equal(found.loss, wanted.loss)
    np.testing.assert_array_equal(found.standard_error, wanted.standard_error)


def test_losses_below_zero_are_above_it_and_shrunk_as_others() -> None:
    measured = curves(heavy(1))
    loss = measured.loss.copy()
    loss[3] = -measured.standard_error[3]
    below = replace(measured, loss=loss)
    plain, shrunk = (cheap_curves("fisher_interaction", below, shrinkage=shrinkage) for shrinkage in (False, True))
    assert (plain.loss > 0).all()
    assert (shrunk.loss > 0).all()
    assert (shrunk.loss[3] != plain.loss[3]).all()
    np.testing.assert_array_equal(cheap_curves("linearity", below, shrinkage=True).loss, plain.loss)
