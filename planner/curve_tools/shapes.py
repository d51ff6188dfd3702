"""Whether measured curves have the shape that closed forms ask for (papers §22.2)."""

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-9
"""Relative steepening of a slope that is put down to rounding."""


def convex(bits: NDArray[np.float64], loss: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each layer's losses are convex in bits: no step to more bits saves more per bit than the step before it.

    Of points with equal bits the least loss counts. Fewer than three places are always convex.

    Args:
        bits: float64 ``[N, K]``; a point without finite bits is left out.
        loss: float64 ``[N, K]``; a point without a finite loss is left out.
    """
    known = np.isfinite(bits) & np.isfinite(loss)
    return np.array([_convex(b[k], y[k]) for b, y, k in zip(bits, loss, known, strict=True)], dtype=np.bool_)


def _convex(bits: NDArray[np.float64], loss: NDArray[np.float64]) -> bool:
    order = np.lexsort((loss, bits))
    places, first = np.unique(bits[order], return_index=True)
    slopes = np.diff(loss[order][first]) / np.diff(places)
    return bool((slopes[1:] >= slopes[:-1] - ROUNDING * np.abs(slopes[:-1])).all())
