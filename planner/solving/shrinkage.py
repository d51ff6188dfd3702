"""Losses freed of the luck of their measurement: empirical Bayes in log space, over the layers of a model.

A plan takes the cells that look best, and of two equal cells the luckier one looks better. So the measured losses of the
*chosen* cells are too low on average (the winner's curse), the more so the noisier the cells and the more of them there are
to choose from. Posterior means are free of it: given what was measured they are right whoever chooses among them.

**The model.** For layer l and format k, ``log loss = log truth + noise``. The vectors of true log losses of the layers, one
number a format, are normal with mean ``b`` and covariance ``A`` between the formats, both estimated from all layers: the
additive fit (layer + format), with formats that lie close to each other closer than the fit says. The noise is independent
between formats and layers. A sample of a sum of squares is close to χ², so a mean of samples is close to a gamma variable of
relative variance g: its logarithm has the mean ``−(g/2 + g²/12)`` and the variance ``g + g²/2 + g³/6`` (the digamma and
trigamma functions of 1/g), and the squared standard error over the squared mean is ``g/(1+g)`` on average.

**The estimate.** With ``R`` the noise of one layer, ``m = b + A (A + R)⁻¹ (log loss − b)``, ``V = A − A (A + R)⁻¹ A``; the
loss is the posterior mean ``exp(m + v/2)`` and its standard error the posterior's, ``loss · √(exp(v) − 1)``.

``A`` is the covariance of the log losses less the mean noise, drawn towards compound symmetry (the additive fit alone) as
far as the layers are few, and kept positive. Source: Efron and Morris, Data Analysis Using Stein's Estimator and Its
Generalizations (1975); Efron, Tweedie's Formula and Selection Bias (2011), on why Bayes rules are immune to selection.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

LEAST_LAYERS: Final = 8
"""Formats known with an error on fewer layers than this stay as measured, and a single format as well."""

MOST_NOISE: Final = 0.5
"""Of a squared relative standard error: beyond, one sample is all of the sum and the error says nothing more."""

Table = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Shrunk:
    """Expected losses.

    Attributes:
        loss: float64 (layers, formats): posterior means, in the unit of the measured losses; bit for bit as measured where
            ``changed`` is false.
        standard_error: float64 (layers, formats): posterior standard deviations; likewise.
        changed: bool (layers, formats): cells with a loss and a known error above 0.
        noise: root mean square of the noise of these cells, in log units: about their relative standard error.
        spread: standard deviation of the true log losses about layer + format; 0 where nothing changed.
    """

    loss: Table
    standard_error: Table
    changed: Mask
    noise: float
    spread: float


@dataclass(frozen=True, slots=True, eq=False)
class _Noise:
    """Variances ``of_layer[l] · of_format[k]`` of log losses, and what to add to a log loss so that its mean is the truth's."""

    of_layer: Table
    of_format: Table
    bias: Table

    @property
    def variance(self) -> Table:
        return self.of_layer[:, None] * self.of_format


def shrink(loss: Table, standard_error: Table) -> Shrunk:
    """Expected losses of all cells, given all cells.

    Exact cells (an error of 0), losses of 0, and cells without a number or an error take no part and stay as they are.

    Args:
        loss: float64 (layers, formats); NaN where there is no number.
        standard_error: float64 (layers, formats): over independent samples, errors of different formats independent of each
            other; NaN where unknown.

    Cost: some products of (layers, formats) with (formats, formats) and one eigendecomposition for each set of formats that
    layers have in common.
    """
    usable = _usable(loss, standard_error)
    if not usable.any():
        return Shrunk(loss, standard_error, usable, 0.0, 0.0)
    columns = np.flatnonzero(usable.any(axis=0))
    rows = np.flatnonzero(usable.any(axis=1))
    part = np.ix_(rows, columns)
    use = usable[part]
    measured = np.where(use, loss[part], 1.0)
    noise = _noise(np.where(use, standard_error[part] / measured, 0.0), use)
    logs = np.where(use, np.log(measured) + noise.bias, 0.0)
    weight = 1 / (noise.of_layer + np.median(noise.of_layer))
    center = _centers(logs, use, weight)
    residual = np.where(use, logs - center, 0.0)
    covariance, spread = _covariance(residual, noise.variance, use, weight)
    mean, variance = _posterior(residual, noise, covariance, use)
    expected = np.exp(center + mean + variance / 2)
    found, error = loss.copy(), standard_error.copy()
    found[part] = np.where(use, expected, loss[part])
    error[part] = np.where(use, expected * np.sqrt(np.expm1(variance)), standard_error[part])
    return Shrunk(found, error, usable, float(np.sqrt(noise.variance[use].mean())), spread)


def _usable(loss: Table, standard_error: Table) -> Mask:
    """Cells with a loss and an error, of formats that enough layers have; none if that leaves a single format."""
    usable: Mask = np.isfinite(loss) & (loss > 0) & np.isfinite(standard_error) & (standard_error > 0)
    usable &= usable.sum(axis=0) >= LEAST_LAYERS
    return usable if int(usable.any(axis=0).sum()) > 1 else np.zeros_like(usable)


def _noise(relative_error: Table, use: Mask) -> _Noise:
    """A layer's cells come from the same samples and a format's errors are alike: pooled so, single errors being rough."""
    squared = np.minimum(np.square(relative_error), MOST_NOISE)
    of_layer, of_format = _factors(squared / (1 - squared), use)
    gamma = of_layer[:, None] * of_format
    return _Noise(*_factors(gamma + gamma**2 / 2 + gamma**3 / 6, use), bias=gamma / 2 + gamma**2 / 12)


def _factors(variance: Table, use: Mask) -> tuple[Table, Table]:
    """Factors whose products have the layers' means and the formats' sums of ``variance``."""
    of_layer = np.where(use, variance, 0.0).sum(axis=1) / use.sum(axis=1)
    of_format = np.where(use, variance, 0.0).sum(axis=0) / (use * of_layer[:, None]).sum(axis=0)
    return of_layer, of_format


def _centers(logs: Table, use: Mask, weight: Table) -> Table:
    """Mean log loss of each format over all layers, (formats,): weighted least squares of layer + format.

    With every cell in use these are the columns' weighted means; else a format that only the sensitive layers have is not
    taken for a bad one.
    """
    known = use * weight[:, None]
    count = use.sum(axis=1)
    level = logs.sum(axis=1) / count
    normal = np.diag(known.sum(axis=0)) - (known / count[:, None]).T @ use
    right = (known * (logs - level[:, None])).sum(axis=0)
    effects: Table = np.linalg.lstsq(normal, right, rcond=None)[0]
    level = level - (use * effects).sum(axis=1) / count
    centers: Table = effects + (weight * level).sum() / weight.sum()
    return centers


def _covariance(residual: Table, noise: Table, use: Mask, weight: Table) -> tuple[Table, float]:
    """Covariance of the true log losses between formats (formats, formats), and their spread about layer + format.

    Products are taken less the square of their layer's level, whose mean over all layers is added again: so it does not
    matter which layers a pair of formats is known on.
    """
    formats = residual.shape[1]
    known = use * weight[:, None]
    pairs = known.T @ use
    level = np.square(residual.sum(axis=1) / use.sum(axis=1))
    sums = (known * residual).T @ residual - (known * level[:, None]).T @ use
    layers = float(weight.sum() ** 2 / np.square(weight).sum())
    products = np.divide(sums, pairs, out=np.zeros_like(sums), where=pairs > 0) + (weight * level).sum() / weight.sum()
    found = products * layers / (layers - 1)
    found[np.diag_indices(formats)] -= (known * noise).sum(axis=0) / known.sum(axis=0)
    apart = (pairs > 0) & ~np.eye(formats, dtype=bool)
    common = float(found[apart].mean()) if apart.any() else 0.0
    found[pairs == 0] = common
    own = max(0.0, float(np.trace(found)) / formats - common)
    symmetric = np.full((formats, formats), common) + own * np.eye(formats)
    share = formats / (formats + layers - 1)
    return (1 - share) * found + share * symmetric, math.sqrt(own)


def _posterior(residual: Table, noise: _Noise, covariance: Table, use: Mask) -> tuple[Table, Table]:
    """Posterior mean and variance of each true log loss about its format's center, both (layers, formats)."""
    mean, variance = np.zeros_like(residual), np.zeros_like(residual)
    alike: dict[bytes, list[int]] = {}
    for row, pattern in enumerate(use):
        alike.setdefault(pattern.tobytes(), []).append(row)
    for members in alike.values():
        rows, columns = np.array(members), np.flatnonzero(use[members[0]])
        part = np.ix_(rows, columns)
        scale = np.sqrt(noise.of_format[columns])
        spectrum, basis = np.linalg.eigh(covariance[np.ix_(columns, columns)] / np.outer(scale, scale))
        spectrum, of_layer = np.maximum(spectrum, 0.0), noise.of_layer[rows, None]
        gain = spectrum / (spectrum + of_layer)
        mean[part] = ((residual[part] / scale) @ basis * gain) @ basis.T * scale
        variance[part] = (gain * of_layer) @ np.square(basis).T * np.square(scale)
    return mean, variance
