"""Losses above zero behind measured ones that luck brought close to zero, or below it."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

_LARGER: Final = 1 + 1e-6
"""An error is larger than its loss by more than rounding where it is so many times as large."""
_LOWEST: Final = -8.0
"""No measured loss is taken for more standard errors below zero than this."""

Table = NDArray[np.float64]


def above_zero(loss: Table, error: Table) -> tuple[Table, Table]:
    """What is to be believed of losses that are known to be above zero, from measured ones whose luck was normal.

    A mean of samples above zero has a standard error of no more than itself. Where the error is larger, samples have either
    sign, as slopes and cross terms do: the measured loss is the true one and a normal error, and says of the true one little
    more than that it is not much larger than the error. With any loss above zero as likely as any other before, it has the
    normal distribution cut off at zero: with ``z = loss/error`` and ``λ = φ(z)/Φ(z)``, mean ``error·(z + λ)`` and variance
    ``error²·(1 − λ (z + λ))`` (Barr and Sherrill, The American Statistician 53, 1999).

    Args:
        loss: float64, any shape; NaN where there is none.
        error: standard errors, same shape; NaN where unknown.

    Returns:
        Losses and standard errors: changed where the error is larger than the loss, elsewhere bit for bit as they were.
    """
    from scipy.special import ndtr  # here, so that only who links loads it

    drowned = np.isfinite(loss) & np.isfinite(error) & (error > _LARGER * loss) & (error > 0)
    z = np.maximum(loss[drowned] / error[drowned], _LOWEST)
    hazard = np.exp(-np.square(z) / 2) / math.sqrt(2 * math.pi) / ndtr(z)
    mean, spread = loss.copy(), error.copy()
    mean[drowned] = error[drowned] * (z + hazard)
    spread[drowned] = error[drowned] * np.sqrt(1 - hazard * (z + hazard))
    return mean, spread
