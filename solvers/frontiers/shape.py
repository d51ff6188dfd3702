"""What a frontier looks like: where it bends, and how much of the plane it dominates."""

from typing import Protocol

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.errors import SettingError


class Curve(Protocol):
    """Points of size and loss, in any order; a loss of ``inf`` is no point."""

    @property
    def sizes(self) -> Integers:
        """int64 ``[P]``."""

    @property
    def losses(self) -> Floats:
        """float64 ``[P]``."""


def knee(found: Curve) -> int:
    """The point of a frontier farthest below the chord from its smallest size to its least loss.

    Sizes and ln(loss), or the losses themselves where one of them is not positive, are mapped to [0, 1] between the two ends
    of the frontier; the knee is the first point with the largest 1 − size − loss (Satopää et al. 2011, without smoothing).
    Units change nothing: a factor on the sizes or the losses cancels.

    Args:
        found: a frontier of any kind, with at least one point.

    Returns:
        The position of the point. On a frontier that is never below its chord it is the smallest size.

    Raises:
        SettingError: no point, that is no feasible budget.
    """
    points = np.flatnonzero(np.isfinite(found.losses))
    if points.size == 0:
        msg = "a frontier without a feasible budget has no knee; give budgets of its floor at least"
        raise SettingError(msg)
    points = points[np.lexsort((found.losses[points], found.sizes[points]))]
    losses = found.losses[points]
    height = _between_ends(np.log(losses) if (losses > 0).all() else losses)
    depth = 1.0 - _between_ends((found.sizes[points] - found.sizes[points[0]]).astype(np.float64)) - height
    return int(points[depth.argmax()])


def _between_ends(values: Floats) -> Floats:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros(values.shape)


def hypervolume(found: Curve, size: int, loss: float) -> float:
    """Area that the frontier dominates, up to a reference point: of sizes and losses that some point betters in both.

    Args:
        found: a frontier of any kind; infeasible budgets add nothing.
        size: of the reference point; points of a larger size add nothing.
        loss: of the reference point; points of a larger loss add nothing.

    Returns:
        Loss times size, ≥ 0; larger is better, for the same reference point alone.

    Raises:
        SettingError: a loss that is not finite.
    """
    if not np.isfinite(loss):
        msg = f"a reference loss of {loss} leaves no area to measure; give a finite one, such as the loss of the smallest size"
        raise SettingError(msg)
    inside = np.flatnonzero((found.sizes <= size) & (found.losses < loss))
    if inside.size == 0:
        return 0.0
    points = inside[np.argsort(found.sizes[inside], kind="stable")]
    heights = loss - np.minimum.accumulate(found.losses[points])
    widths = np.diff(np.append(found.sizes[points], size)).astype(np.float64)
    return float(heights @ widths)
