"""Shapes of a link, from the fewest parameters to the most, each fitted by weighted least squares in logarithms."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sensitivity.links.link import Link
from sensitivity.links.pairs import Pairs

OFFSET_DEVIATION: Final = 0.4
"""Standard deviation that offsets of formats are expected to have, in ln: factors of about 1.5 either way."""
CELLS_OF_A_KNOT: Final = 5
"""Cells that a knot of the isotonic shape is the mean of, at least."""
LEAST_VARIANCE: Final = 1e-8
"""Residual variances are no smaller than this."""
_ROUNDS: Final = 30
_SETTLED: Final = 1e-2


class Family(StrEnum):
    """Shape of a link; later ones have more parameters."""

    IDENTITY = "identity"
    SCALE = "scale"
    POWER = "power"
    SCALE_BY_FORMAT = "scale_by_format"
    POWER_BY_FORMAT = "power_by_format"
    ISOTONIC = "isotonic"


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    """A link without its residual variance, its values at the pairs, and how many parameters it took."""

    link: Link
    values: NDArray[np.float64]
    parameters: float


def fit_family(family: Family, pairs: Pairs) -> Link | None:
    """The link of one shape that fits the pairs best, or ``None`` where they do not determine one that rises.

    - ``identity``: exact = cheap. ``scale``: exact = a·cheap. ``power``: exact = a·cheap^b with b > 0.
    - ``…_by_format``: the same times a factor of each format, with a normal prior of ``OFFSET_DEVIATION`` around 1 in
      logarithms, so that a format with few cells stays near the others.
    - ``isotonic``: means of at least ``CELLS_OF_A_KNOT`` neighbouring cells, pooled until they rise, joined by a monotone
      cubic; beyond them the slope of ``power``.

    A cell's weight is 1/(τ² + its own variances), where τ², the variance of the residuals, is such that the weighted
    residuals have the size that they should have (Paule and Mandel, J. Res. NBS 87, 1982), found by Newton's steps together
    with the fit. The noise of the cheap losses is not corrected for: cells to be predicted have the same.

    Args:
        family: the shape.
        pairs: at least one.
    """
    tau2, slope = max(float(np.var(pairs.y - pairs.x)), LEAST_VARIANCE), 1.0
    fitted: _Fitted | None = None
    for _ in range(_ROUNDS):
        noise = pairs.y_variance + slope**2 * pairs.x_variance
        weight = 1.0 / (tau2 + noise)
        fitted = _fit(family, pairs, weight)
        if fitted is None:
            return None
        residual = np.square(pairs.y - fitted.values)
        excess = float(weight @ residual) - max(len(pairs) - fitted.parameters, 1.0)
        settled = max(tau2 + excess / float(np.square(weight) @ residual or 1.0), LEAST_VARIANCE)
        done = abs(settled - tau2) <= _SETTLED * tau2
        tau2, slope = settled, fitted.link.slope
        if done:
            break
    return None if fitted is None else replace(fitted.link, residual_variance=tau2)


def _fit(family: Family, pairs: Pairs, weight: NDArray[np.float64]) -> _Fitted | None:
    if family is Family.IDENTITY:
        return _Fitted(Link(family, np.zeros((1, 2)), 1.0), pairs.x, 0.0)
    if family is Family.ISOTONIC:
        return _fit_isotonic(pairs, weight)
    return _fit_line(family, pairs, weight)


def _fit_line(family: Family, pairs: Pairs, weight: NDArray[np.float64]) -> _Fitted | None:
    """A straight line in logarithms: ridge regression, whose covariance is that of the posterior."""
    x, y = pairs.x, pairs.y
    centre = float(np.average(x, weights=weight))
    sloped = family in (Family.POWER, Family.POWER_BY_FORMAT)
    names = pairs.format_names if family in (Family.SCALE_BY_FORMAT, Family.POWER_BY_FORMAT) else ()
    if sloped and np.ptp(x) == 0:
        return None
    lines = np.stack([np.ones(len(x)), x - centre], axis=1)[:, : 1 + sloped]
    table = np.concatenate([lines, pairs.of_format[:, : len(names)]], axis=1)
    prior = np.diag([0.0] * lines.shape[1] + [OFFSET_DEVIATION**-2] * len(names))
    moments = table.T @ (weight[:, None] * table)
    covariance = np.linalg.inv(moments + prior)
    given = 0.0 if sloped else x - centre
    found = covariance @ (table.T @ (weight * (y - given)))
    slope = float(found[1]) if sloped else 1.0
    if slope <= 0:
        return None
    first = lines.shape[1]
    own = covariance.diagonal()
    joint = {name: float(own[0] + own[first + j] + 2 * covariance[0, first + j]) for j, name in enumerate(names)}
    link = Link(
        family=family,
        knots=np.array([[centre, found[0]]]),
        slope=slope,
        offsets={name: float(found[first + j]) for j, name in enumerate(names)},
        level_variance=float(own[0]) + (OFFSET_DEVIATION**2 if len(names) else 0.0),
        format_variances=joint,
        slope_variance=float(own[1]) if sloped else 0.0,
    )
    return _Fitted(link, table @ found + given, float(np.trace(covariance @ moments)))


def _fit_isotonic(pairs: Pairs, weight: NDArray[np.float64]) -> _Fitted | None:
    """Means of neighbours, pooled until they rise strictly in both directions; at least two must be left."""
    line = _fit_line(Family.POWER, pairs, weight)
    runs = len(pairs) // CELLS_OF_A_KNOT
    if line is None or runs < 2:
        return None
    from scipy.optimize import isotonic_regression  # here, so that only who fits loads it

    x, y = pairs.x, pairs.y
    parts = np.array_split(np.argsort(x, kind="stable"), runs)
    weights = np.array([weight[part].sum() for part in parts])
    means = np.array([[np.average(values[part], weights=weight[part]) for values in (x, y)] for part in parts])
    level = isotonic_regression(means[:, 1], weights=weights).x
    places = np.concatenate([[0], np.cumsum(np.diff(level) > 0)])
    totals = np.bincount(places, weights)
    knots = np.stack([np.bincount(places, weights * means[:, 0]) / totals, np.bincount(places, weights * level) / totals], axis=1)
    if len(knots) < 2 or (np.diff(knots, axis=0) <= 0).any():
        return None
    link = replace(line.link, family=Family.ISOTONIC, knots=knots, level_variance=float(np.mean(1.0 / totals)))
    return _Fitted(link, link.logarithm(x, pairs.formats), float(len(knots)))
