"""A cheap probe's curves, linked to exact cells: the exact number where there is one, else what the link makes of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.curves import Curves
from sensitivity.links.fitting import LinkFit, fit_link
from sensitivity.links.pairs import Pairs, usable_pairs
from sensitivity.statistics import CellStatus


@dataclass(frozen=True, slots=True, eq=False)
class LinkedCurves:
    """Error curves that stand on two probes.

    Attributes:
        curves: the linked cells; a standard error is the exact cell's, or that of the cheap cell, the residual and the fit
            together.
        exact: bool (layers, formats): the cell is the exact probe's.
        fit: the link.
    """

    curves: Curves
    exact: NDArray[np.bool_]
    fit: LinkFit


def known_exactly(exact: Curves) -> NDArray[np.bool_]:
    """Cells that need no link, bool (layers, formats): with a number, or known to have none because it is not finite."""
    known: NDArray[np.bool_] = (exact.status == CellStatus.MEASURED) | (exact.status == CellStatus.NON_FINITE)
    return known


def pairs_of(cheap: Curves, exact: Curves) -> Pairs:
    """The cells with a loss above zero by both probes, whose curves have the same layers and formats."""
    names = np.broadcast_to(np.array([fmt.name for fmt in cheap.formats], dtype=str), cheap.loss.shape)
    return usable_pairs(
        cheap.loss.ravel(),
        exact.loss.ravel(),
        names.ravel(),
        cheap_error=cheap.standard_error.ravel(),
        exact_error=exact.standard_error.ravel(),
    )


def link_curves(cheap: Curves, exact: Curves, *, same_unit: bool, seed: int) -> LinkedCurves:
    """Fit a link on the cells that both have and apply it to the others.

    Linked curves are not shrunk when plans are made of them, as the errors of exact cells and of others have nothing in common:
    shrink the cheap ones before (``expected_curves``).

    Args:
        cheap: curves of the cheap probe.
        exact: curves of the exact probe, same layers and formats; most cells may be unmeasured.
        same_unit: both are in nats per token.
        seed: of the link's cross-validation.

    Raises:
        LinkError: too few cells in common, or cheap losses that foretell nothing of the exact ones.
    """
    fit = fit_link(pairs_of(cheap, exact), same_unit=same_unit, seed=seed)
    known = known_exactly(exact)
    told = (cheap.status == CellStatus.MEASURED) & ~known
    loss = np.where(known, exact.loss, np.nan)
    error = np.where(known, exact.standard_error, np.nan)
    columns = np.array([fmt.name for fmt in cheap.formats], dtype=str)[np.nonzero(told)[1]]
    loss[told], error[told] = fit.link.losses(cheap.loss[told], cheap.standard_error[told], columns)
    status = np.where(known, exact.status, cheap.status)
    return LinkedCurves(Curves(cheap.layers, cheap.formats, loss, error, status), known, fit)
