"""Sufficient statistics ``(n, Σx, Σx²)`` of a probe: merging is addition.

Arrays have shape ``(..., 3)`` in float64: the last axis is count, sum, sum of squares. Because merging is addition, a
unit may run on any machine; because the caller merges units in the order of their keys, the result does not depend on
who ran what when.
"""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Statistics = NDArray[np.float64]


class CellStatus(StrEnum):
    """What is known of a (layer, format) pair. Only ``MEASURED`` has a number."""

    MEASURED = "measured"
    NO_TOKENS = "no_tokens"
    NON_FINITE = "non_finite"
    UNSUPPORTED_SHAPE = "unsupported_shape"


def observe(samples: NDArray[np.floating]) -> Statistics:
    """Statistics of samples of shape ``(samples, ...)``: an array of shape ``(..., 3)``."""
    x = np.asarray(samples, dtype=np.float64)
    count = np.full(x.shape[1:], float(x.shape[0]))
    return np.stack([count, x.sum(axis=0), np.square(x).sum(axis=0)], axis=-1)


def summed(results: Sequence[Statistics]) -> Statistics:
    """Statistics of all samples: the sum, one by one in the order given. At least one."""
    total = np.zeros_like(results[0])
    for result in results:
        total = total + result
    return total


def mean_and_error(statistics: Statistics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard error of the mean, each of shape ``(...)``.

    The standard error is ``sqrt((Σx² − n·mean²) / (n·(n−1)))``. It is NaN where fewer than two samples exist (nothing is
    known of the spread), and the mean is NaN where none exist.
    """
    n, total, squares = statistics[..., 0], statistics[..., 1], statistics[..., 2]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean = np.where(n > 0, total / n, np.nan)
        variance = np.maximum(squares - n * np.square(mean), 0.0) / (n - 1)
        error = np.where(n > 1, np.sqrt(variance / n), np.nan)
    return mean, error


def cell_status(statistics: Statistics) -> NDArray[np.str_]:
    """``CellStatus`` of each cell as text: no sample, a sum that is not finite, or measured."""
    n = statistics[..., 0]
    finite = np.isfinite(statistics).all(axis=-1)
    known = np.where(finite, CellStatus.MEASURED.value, CellStatus.NON_FINITE.value)
    return np.where(n == 0, CellStatus.NO_TOKENS.value, known)
