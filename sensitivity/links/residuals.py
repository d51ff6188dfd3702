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

Mask = NDArray[np.bool_]
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


def condition(residual: Table, variance: Table, open_cells: Mask, level: Table) -> Conditional:
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
    deviation = np.sqrt(variance)
    whole = _correlation(share, apart) * deviation[:, :, None] * deviation[:, None, :]
    among = np.where(_both(known, known), whole, np.eye(len(level)))
    across = np.where(_both(open_cells, known), whole, 0.0)
    gain = np.swapaxes(np.linalg.solve(among, np.swapaxes(across, 1, 2)), 1, 2)
    shift = (gain @ np.where(known, residual, 0.0)[:, :, None])[:, :, 0]
    left = whole - gain @ np.swapaxes(across, 1, 2)
    return Conditional(shift, np.where(_both(open_cells, open_cells), left, 0.0), share)


def _both(first: Mask, second: Mask) -> Mask:
    """Pairs of cells of a layer, one of the first and one of the second, (layers, formats, formats)."""
    return first[:, :, None] & second[:, None, :]


def _correlation(share: float, apart: Table) -> Table:
    """``ρ·ρ^d + (1 − ρ)·1``: positive definite for any ρ below 1, even where two formats have the same losses."""
    common = np.where(np.isfinite(apart), share ** (1 + np.nan_to_num(apart)), 0.0)
    np.fill_diagonal(common, 1.0)
    return common


def _share(residual: Table, variance: Table, known: Mask, apart: Table) -> float:
    """Posterior mean of ρ, by the layers with several exact cells; the variances are taken as they are.

    A cell that is not exact is one of variance 1 and residual 0 that has nothing to do with the others: it changes no density.
    Layers with the same exact formats share a matrix.
    """
    several = known.sum(axis=1) > 1
    scaled = np.divide(residual, np.sqrt(variance), out=np.zeros(residual.shape), where=known)[several]
    patterns, pattern_of = np.unique(known[several], axis=0, return_inverse=True)
    members = np.bincount(pattern_of, minlength=len(patterns))
    moments = np.zeros((len(patterns), len(apart), len(apart)))
    np.add.at(moments, pattern_of, scaled[:, :, None] * scaled[:, None, :])
    density = np.log1p(-_GRID)
    for number, share in enumerate(_GRID):
        parts = np.where(_both(patterns, patterns), _correlation(float(share), apart), np.eye(len(apart)))
        density[number] -= 0.5 * float(members @ np.linalg.slogdet(parts)[1] + (np.linalg.inv(parts) * moments).sum())
    weight = np.exp(density - density.max())
    return float(weight @ _GRID / weight.sum())
