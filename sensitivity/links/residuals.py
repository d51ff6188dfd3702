"""What the exact cells of a layer say of its other cells: neighbouring formats share a part of what a link leaves over.

A cheap probe that is off on a layer is off alike in formats that lie close to each other: one unlucky draw is in all of them.
Residuals ``ln exact − g(ln cheap)`` of one layer are taken as normal, of the link's variances, with the correlation
``ρ^(1 + d)`` between two formats whose losses are a factor ``4^d`` apart, and independent between layers. Given some of them,
the others follow as in kriging (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, §2.2).
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_GRID: Final = np.linspace(0.0, 0.95, 20)
"""Values of ρ that are weighed, with a prior that falls to none at 1: without pairs of cells little is believed of others."""

Table = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Conditional:
    """Logarithms of the open cells, given the exact ones.

    Attributes:
        shift: float64 (layers, formats): what is to be added to the link's logarithm; 0 in a layer without exact cells.
        covariance: float64 (layers, formats, formats): between the open cells of a layer; 0 elsewhere.
        share: ρ, the mean of its posterior.
    """

    shift: Table
    covariance: Table
    share: float


def condition(residual: Table, variance: Table, open_cells: NDArray[np.bool_], level: Table) -> Conditional:
    """Residuals of the open cells as those of exact cells in the same layer foretell them.

    Args:
        residual: float64 (layers, formats): of the exact cells that have one; NaN elsewhere.
        variance: float64 (layers, formats), ≥ 0: of the residuals, known and unknown.
        open_cells: bool (layers, formats): cells to be foretold.
        level: float64 (formats,): typical ln loss of each format; NaN where unknown.
    """
    apart = np.abs(level[:, None] - level) / math.log(4)
    known = np.isfinite(residual) & (variance > 0)
    share = _share(residual, variance, known, apart)
    correlation = _correlation(share, apart)
    deviation = np.sqrt(variance)
    shift = np.zeros(residual.shape)
    covariance = np.zeros((*residual.shape, residual.shape[1]))
    for row in np.flatnonzero(open_cells.any(axis=1)):
        wanted, seen = np.flatnonzero(open_cells[row]), np.flatnonzero(known[row])
        whole = correlation * np.outer(deviation[row], deviation[row])
        left = whole[np.ix_(wanted, wanted)]
        if len(seen):
            across = whole[np.ix_(wanted, seen)]
            gain = np.linalg.solve(whole[np.ix_(seen, seen)], across.T).T
            shift[row, wanted] = gain @ residual[row, seen]
            left = left - gain @ across.T
        covariance[row][np.ix_(wanted, wanted)] = left
    return Conditional(shift, covariance, share)


def _correlation(share: float, apart: Table) -> Table:
    """``ρ·ρ^d + (1 − ρ)·1``: positive definite for any ρ below 1, even where two formats have the same losses."""
    common = np.where(np.isfinite(apart), share ** (1 + np.nan_to_num(apart)), 0.0)
    np.fill_diagonal(common, 1.0)
    return common


def _share(residual: Table, variance: Table, known: NDArray[np.bool_], apart: Table) -> float:
    """Posterior mean of ρ, by the layers with several exact cells; the variances are taken as they are."""
    rows = np.flatnonzero(known.sum(axis=1) > 1)
    density = np.log1p(-_GRID)
    for number, share in enumerate(_GRID):
        correlation = _correlation(float(share), apart)
        for row in rows:
            seen = np.flatnonzero(known[row])
            scaled = residual[row, seen] / np.sqrt(variance[row, seen])
            part = correlation[np.ix_(seen, seen)]
            density[number] -= 0.5 * (float(np.linalg.slogdet(part)[1]) + float(scaled @ np.linalg.solve(part, scaled)))
    weight = np.exp(density - density.max())
    return float(weight @ _GRID / weight.sum())
