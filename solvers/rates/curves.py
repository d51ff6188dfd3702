"""Curves ``loss = α·β^(−bits)`` fitted to measured cells, class by class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.errors import ProblemError

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class RateCurves:
    """One curve a class, all arrays of shape ``[N]``, and what speaks against it.

    Attributes:
        log_scale: ln α; NaN without a curve. Kept as a logarithm because α itself can leave float64.
        beta: β; NaN without a curve.
        residual: root mean square of ``ln loss − ln(α·β^(−bits))`` over the points used; NaN without a curve.
        r_squared: share of the variance of ln loss that the curve explains, 1 where it does not vary; NaN without a curve.
        used: points that the fit saw.
        left_out: cells that are no point: NaN, infinite, zero or negative losses, or bits that are not finite.
        too_few: fewer than two points with different bits.
        rising: somewhere more bits lose more, among the points used.
        flat: the fitted β is 1 or less: no closed form can use it.
    """

    log_scale: Floats
    beta: Floats
    residual: Floats
    r_squared: Floats
    used: Integers
    left_out: Integers
    too_few: Flags
    rising: Flags
    flat: Flags

    @property
    def usable(self) -> Flags:
        """Curves that fall: neither too few points nor flat. A rising pair of points alone only lowers ``r_squared``."""
        return ~(self.too_few | self.flat)

    @property
    def scale(self) -> Floats:
        """α, the loss at 0 bits."""
        with np.errstate(over="ignore"):
            return np.exp(self.log_scale)

    def losses(self, bits: Floats) -> Floats:
        """α·β^(−bits), for bits ``[N]`` or ``[N, K]``."""
        at = np.asarray(bits, dtype=np.float64)
        log_scale, decay = self.log_scale, np.log(self.beta)
        if at.ndim == 2:
            log_scale, decay = log_scale[:, None], decay[:, None]
        with np.errstate(over="ignore"):
            return np.exp(log_scale - at * decay)


def fit_curves(bits: Floats, loss: Floats, *, pooled: bool = False) -> RateCurves:
    """Least squares of ln loss on bits, all classes at once; O(N·K).

    Args:
        bits: float64 ``[K]``, the same for all classes, or ``[N, K]``.
        loss: float64 ``[N, K]``; cells that are not finite and positive are left out and counted.
        pooled: one β for all classes, each with its own α: the slope of the points about the means of their classes. A class
            with a single point then has a curve too.

    Raises:
        ProblemError: shapes that do not fit.
    """
    loss = np.asarray(loss, dtype=np.float64)
    bits = np.asarray(bits, dtype=np.float64)
    if loss.ndim != 2 or bits.shape not in (loss.shape, loss.shape[1:]):
        msg = f"bits of shape {bits.shape} do not fit losses of shape {loss.shape}; give (K,) or (N, K) beside (N, K)"
        raise ProblemError(msg)
    bits = np.broadcast_to(bits, loss.shape)
    point = np.isfinite(loss) & (loss > 0) & np.isfinite(bits)
    x, y = np.where(point, bits, 0.0), np.log(np.where(point, loss, 1.0))
    used = point.sum(axis=1)
    dx, x_mean = _about_mean(x, point, used)
    dy, y_mean = _about_mean(y, point, used)
    sxx, sxy, syy = (dx * dx).sum(axis=1), (dx * dy).sum(axis=1), (dy * dy).sum(axis=1)
    own_slope = _same_bits(x, point) == 0
    slope = np.divide(sxy, sxx, out=np.full(sxx.shape, np.nan), where=~own_slope)
    too_few = own_slope
    if pooled:
        slope, too_few = _pooled_slope(sxx, sxy, own_slope), used < 1
    slope = np.where(too_few, np.nan, slope)
    curve_residual = ((dy - np.where(point, slope[:, None], 0.0) * dx) ** 2).sum(axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        return RateCurves(
            log_scale=np.where(np.isnan(slope), np.nan, y_mean - slope * x_mean),
            beta=np.exp(-slope),
            residual=np.where(np.isnan(slope), np.nan, np.sqrt(curve_residual / np.maximum(used, 1))),
            r_squared=np.where(
                np.isnan(slope), np.nan, 1.0 - np.where(syy > 0, curve_residual / np.where(syy > 0, syy, 1.0), 0.0)
            ),
            used=used,
            left_out=loss.shape[1] - used,
            too_few=np.isnan(slope),
            rising=_rises(x, y, point),
            flat=np.exp(-slope) <= 1.0,
        )


def _about_mean(values: Floats, point: Flags, used: Integers) -> tuple[Floats, Floats]:
    """The points less the mean of their class (0 elsewhere), and the means."""
    mean = np.where(point, values, 0.0).sum(axis=1) / np.maximum(used, 1)
    return np.where(point, values - mean[:, None], 0.0), mean


def _same_bits(x: Floats, point: Flags) -> Floats:
    """Range of the bits of each class, 0 where there is no second place."""
    if x.shape[1] == 0:
        return np.zeros(x.shape[0])
    spread: Floats = np.where(point, x, -np.inf).max(axis=1) - np.where(point, x, np.inf).min(axis=1)
    return np.maximum(spread, 0.0)


def _pooled_slope(sxx: Floats, sxy: Floats, alone: Flags) -> Floats:
    total = float(sxx[~alone].sum())
    slope = float(sxy[~alone].sum()) / total if total > 0 else np.nan
    return np.full(sxx.shape, slope)


def _rises(x: Floats, y: Floats, point: Flags) -> Flags:
    """A later point above an earlier one, points in the order of their bits."""
    order = np.argsort(np.where(point, x, np.inf), axis=1, kind="stable")
    bits, logs, real = (np.take_along_axis(x, order, 1), np.take_along_axis(y, order, 1), np.take_along_axis(point, order, 1))
    worse = (logs[:, 1:] > logs[:, :-1]) & (bits[:, 1:] > bits[:, :-1]) & real[:, 1:] & real[:, :-1]
    return np.asarray(worse.any(axis=1))
