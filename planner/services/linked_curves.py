"""A cheap probe's curves, linked to exact cells: the exact number where there is one, else what the link makes of it."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from planner.curves import Curves
from planner.services.expected_curves import expected_curves
from sensitivity.formats.candidate import FormatT
from sensitivity.links.fitting import LinkFit, fit_link
from sensitivity.links.link import Link
from sensitivity.links.pairs import Pairs, log_variance, usable_pairs
from sensitivity.links.positive import above_zero
from sensitivity.links.residuals import Conditional, condition
from sensitivity.links.steadiness import Steadiness, steadiness, told_apart, unsteady_cells
from sensitivity.statistics import CellStatus


@dataclass(frozen=True, slots=True, eq=False)
class LinkedCurves:
    """Error curves that stand on two probes.

    Attributes:
        curves: the linked cells; a standard error is the exact cell's, or that of the cheap cell, the residual and the fit
            together, less what exact cells say of it, but no less than the cheap cell's own: most of that is of the text.
        exact: bool (layers, formats): the cell is the exact probe's.
        fit: the link.
        covariance: float64 (layers, formats, formats): of the logarithms of the foretold losses above zero, about what the
            exact probe would find on the same text; 0 elsewhere.
        share: how alike the residuals of one layer are (``sensitivity.links.residuals``).
        kinds: corrections for steady and unsteady cells (``sensitivity.links.steadiness``).
    """

    curves: Curves
    exact: NDArray[np.bool_]
    fit: LinkFit
    covariance: NDArray[np.float64]
    share: float
    kinds: Steadiness


def cheap_curves(probe: str, measured: Curves[FormatT], *, shrinkage: bool) -> Curves[FormatT]:
    """What is to be believed of a cheap probe's losses before they are linked.

    Those that luck may have brought close to zero, or below it, are above it (``sensitivity.links.positive``), and all are freed
    of the luck of their measurement where that is asked for and the probe allows it.

    Args:
        probe: whose losses they are.
        measured: all cells of a model in one setting: the more are looked at together, the more is known of each.
        shrinkage: whether the second is asked for.
    """
    loss, error = above_zero(measured.loss, measured.standard_error)
    found = replace(measured, loss=loss, standard_error=error)
    return expected_curves(probe, found)[0] if shrinkage else found


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
    """Fit a link on the cells that both have and apply it to the others; exact cells tell of their layer's other formats.

    Where enough exact cells are known whose cheap losses are dominated by few samples, the link is fitted without them, and
    what they say is said of their like only.

    What is foretold is the number that the exact probe would find on its text. The exact cells' standard errors are no part of
    the residual: both probes see the same sequences, and the other cells' exact numbers will have the same error.

    Linked curves are not shrunk when plans are made of them, as the errors of exact cells and of others have nothing in common:
    shrink the cheap ones before (``cheap_curves``).

    Args:
        cheap: curves of the cheap probe, as ``cheap_curves`` gives them.
        exact: curves of the exact probe, same layers and formats; most cells may be unmeasured.
        same_unit: both are in nats per token.
        seed: of the link's cross-validation.

    Raises:
        LinkError: too few cells in common, or cheap losses that foretell nothing of the exact ones.
    """
    known = known_exactly(exact)
    relative_error = np.divide(cheap.standard_error, cheap.loss, where=cheap.loss > 0, out=np.zeros(cheap.loss.shape))
    unsteady = unsteady_cells(relative_error)
    apart = told_apart(_in_both(cheap, exact), unsteady)
    pairs = pairs_of(cheap, _without(exact, unsteady) if apart else exact)
    fit = fit_link(replace(pairs, exact_error=np.zeros(len(pairs))), same_unit=same_unit, seed=seed)
    told = (cheap.status == CellStatus.MEASURED) & ~known
    loss = np.where(known, exact.loss, np.nan)
    error = np.where(known, exact.standard_error, np.nan)
    columns = np.array([fmt.name for fmt in cheap.formats], dtype=str)[np.nonzero(told)[1]]
    loss[told], error[told] = fit.link.losses(cheap.loss[told], cheap.standard_error[told], columns)
    kinds, given = _conditional(cheap, exact, fit.link, told, unsteady, apart=apart)
    variance = np.diagonal(given.covariance, axis1=1, axis2=2)
    moved = told & (loss > 0)
    loss[moved], error[moved] = _moved(loss[moved], error[moved], given.shift[moved], variance[moved], fit.link)
    error[moved] = np.fmax(error[moved], fit.link.slope * loss[moved] * relative_error[moved])
    status = np.where(known, exact.status, cheap.status)
    curves = Curves(cheap.layers, cheap.formats, loss, error, status)
    return LinkedCurves(curves, known, fit, given.covariance, given.share, kinds)


def _in_both(cheap: Curves, exact: Curves) -> NDArray[np.bool_]:
    """Cells with a loss above zero by both probes."""
    measured = (cheap.status == CellStatus.MEASURED) & (exact.status == CellStatus.MEASURED)
    both: NDArray[np.bool_] = measured & (np.nan_to_num(cheap.loss) > 0) & (np.nan_to_num(exact.loss) > 0)
    return both


def _without(exact: Curves, cells: NDArray[np.bool_]) -> Curves:
    return replace(exact, loss=np.where(cells, np.nan, exact.loss))


def _conditional(
    cheap: Curves, exact: Curves, link: Link, told: NDArray[np.bool_], unsteady: NDArray[np.bool_], *, apart: bool
) -> tuple[Steadiness, Conditional]:
    """What exact cells say of the link's errors, and of the foretold cells; shifts are from the link's own logarithms."""
    seen = (cheap.status == CellStatus.MEASURED) & (np.nan_to_num(cheap.loss) > 0)
    names = np.broadcast_to(np.array([fmt.name for fmt in cheap.formats], dtype=str), seen.shape)[seen]
    x = np.full(seen.shape, np.nan)
    x[seen] = np.log(cheap.loss[seen])
    variance, residual = np.zeros(seen.shape), np.full(seen.shape, np.nan)
    own = log_variance(cheap.loss[seen], np.nan_to_num(cheap.standard_error[seen]))
    variance[seen] = link.variance(x[seen], own, names)
    foretold = np.full(seen.shape, np.nan)
    foretold[seen] = link.logarithm(x[seen], names)
    both = _in_both(cheap, exact)
    residual[both] = np.log(exact.loss[both]) - foretold[both]
    kinds = steadiness(residual, variance, unsteady, apart=apart)
    offset = np.where(unsteady, kinds.offset, 0.0)
    variance = variance * np.where(unsteady, kinds.unsteady_scale, kinds.scale)
    level = np.array([np.median(column[there]) if there.any() else np.nan for column, there in zip(x.T, seen.T, strict=True)])
    given = condition(residual - offset, variance, told & seen, level)
    return kinds, replace(given, shift=np.where(told & seen, given.shift + offset, 0.0))


def _moved(
    loss: NDArray[np.float64],
    error: NDArray[np.float64],
    shift: NDArray[np.float64],
    variance: NDArray[np.float64],
    link: Link,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of the log-normal losses after their logarithms were moved and their variance became less; the errors."""
    before = log_variance(loss, error)
    less = 0.0 if link.family == "identity" else (variance - before) / 2
    found = loss * np.exp(shift + less)
    return found, found * np.sqrt(np.expm1(variance))
