"""Cells whose cheap loss is mostly one unlucky sample, and how far the errors that a link claims are those that are found.

A cheap loss with a wide standard error is often a mean that few samples dominate: a label that is hardly ever drawn, with an
enormous gradient. Such losses are too high by about the share of those samples, in all formats and in many layers at once, where
the exact probe sees nothing of it. They say nothing of the others, whose errors in turn are narrower than claimed: most of their
standard error is of the sequences, which both probes share.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sensitivity.links.families import OFFSET_DEVIATION
from sensitivity.links.pairs import LEAST_PAIRS

UNSTEADY: Final = 2.0
"""Cells whose relative error is so many times the median one are unsteady."""
LEAST_UNSTEADY: Final = 5
"""With fewer exact cells that are unsteady, nothing is known of them that others do not say."""
_PRIOR_CELLS: Final = 10.0
"""Exact cells that the claimed variance counts as much as."""

Mask = NDArray[np.bool_]
Table = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Steadiness:
    """Corrections of a link for the two kinds of cells.

    Attributes:
        offset: what is to be added to the logarithm of unsteady cells; 0 where nothing is known of them.
        scale: of the variances of steady cells.
        unsteady_scale: of unsteady ones, about their offset.
    """

    offset: float
    scale: float
    unsteady_scale: float


def unsteady_cells(relative_error: Table) -> Mask:
    """Which cells are unsteady, from the relative standard errors of all cells; NaN, or unknown, is not."""
    known = relative_error[np.isfinite(relative_error) & (relative_error > 0)]
    limit = UNSTEADY * float(np.median(known)) if known.size else np.inf
    found: Mask = np.nan_to_num(relative_error) > limit
    return found


def told_apart(known: Mask, unsteady: Mask) -> bool:
    """There are enough exact cells of either kind for a link of the steady ones alone."""
    return int((known & ~unsteady).sum()) >= LEAST_PAIRS and int((known & unsteady).sum()) >= LEAST_UNSTEADY


def steadiness(residual: Table, variance: Table, unsteady: Mask, *, apart: bool) -> Steadiness:
    """What exact cells say of a link's errors.

    A scale is the mean of squared residuals ÷ variances, with the claimed ones counted as some more cells. The offset has a
    normal prior around 0, as offsets of formats do.

    Args:
        residual: ``ln exact − g(ln cheap)`` of the exact cells; NaN elsewhere.
        variance: claimed for it, same shape.
        unsteady: same shape.
        apart: the link is of the steady cells; else all are of one kind.
    """
    known = np.isfinite(residual) & (variance > 0)
    scale = _scale(residual[known & ~(unsteady & apart)], variance[known & ~(unsteady & apart)])
    if not apart:
        return Steadiness(0.0, scale, scale)
    found, claimed = residual[known & unsteady], variance[known & unsteady]
    own = max(float(found.var()), float(claimed.mean()))
    offset = float(found.sum() / own / (len(found) / own + OFFSET_DEVIATION**-2))
    return Steadiness(offset, scale, _scale(found - offset, claimed))


def _scale(residual: Table, variance: Table) -> float:
    return float((np.square(residual) / variance).sum() + _PRIOR_CELLS) / (len(residual) + _PRIOR_CELLS)
