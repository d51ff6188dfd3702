"""Sufficient statistics: merging is addition, and the errors are those of numpy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sensitivity.statistics import CellStatus, cell_status, mean_and_error, observe

samples = arrays(np.float64, st.tuples(st.integers(2, 20), st.integers(1, 4)), elements=st.floats(-1e3, 1e3))


@given(samples, st.data())
def test_any_split_merges_to_the_whole(x: np.ndarray, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(x)))
    np.testing.assert_allclose(observe(x[:cut]) + observe(x[cut:]), observe(x), rtol=1e-12, atol=1e-6)


@given(samples)
def test_mean_and_error_are_numpys(x: np.ndarray) -> None:
    mean, error = mean_and_error(observe(x))
    np.testing.assert_allclose(mean, x.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(error, x.std(axis=0, ddof=1) / np.sqrt(len(x)), atol=1e-3)


def test_nothing_is_made_up() -> None:
    mean, error = mean_and_error(np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 4.0]]))
    assert np.isnan(mean[0])
    assert mean[1] == 2.0
    assert np.isnan(error).all()


def test_status_follows_from_the_statistics() -> None:
    status = cell_status(np.array([[0.0, 0.0, 0.0], [2.0, np.nan, 1.0], [2.0, 1.0, 1.0]]))
    assert list(status) == [CellStatus.NO_TOKENS, CellStatus.NON_FINITE, CellStatus.MEASURED]
