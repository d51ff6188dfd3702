"""What a format that nobody measured is expected to cost, between measured formats of its family."""

from collections.abc import Sequence

import numpy as np

from planner.curves import Curves
from sensitivity.formats.candidate import CandidateFormat, ElementType
from sensitivity.statistics import CellStatus


def interpolated(curves: Curves, candidates: Sequence[CandidateFormat]) -> Curves:
    """Curves of the integer formats among the candidates that lie between two measured ones that differ in their bits alone.

    The log loss is linear in the bits between the nearest two: the squared step of a uniform grid falls fourfold a bit, and
    losses nearly so. Where either neighbour has no loss above 0 there is no number, and nobody measured the cell; where both
    saw no token, nor would this format.

    Args:
        curves: measured formats.
        candidates: formats to look at; those that the curves have, and those without two neighbours, are left out.
    """
    columns = [(fmt, pair) for fmt in candidates if fmt not in curves.formats and (pair := _neighbours(fmt, curves.formats))]
    shape = (len(curves.layers), len(columns))
    loss, error, status = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, "", dtype=curves.status.dtype)
    for column, (fmt, (below, above)) in enumerate(columns):
        low, high = curves.formats[below], curves.formats[above]
        share = (fmt.num_bits - low.num_bits) / (high.num_bits - low.num_bits)
        statuses = curves.status[:, (below, above)]
        ends, errors = curves.loss[:, (below, above)], curves.standard_error[:, (below, above)]
        known = (statuses == CellStatus.MEASURED).all(axis=1) & (ends > 0).all(axis=1)
        weights = np.array([1 - share, share])
        loss[known, column] = np.exp(np.log(ends[known]) @ weights)
        error[known, column] = loss[known, column] * np.sqrt(np.square(errors[known] / ends[known]) @ np.square(weights))
        status[known, column] = CellStatus.MEASURED.value
        status[(statuses == CellStatus.NO_TOKENS).all(axis=1), column] = CellStatus.NO_TOKENS.value
    return Curves(curves.layers, tuple(fmt for fmt, _ in columns), loss, error, status)


def _neighbours(fmt: CandidateFormat, measured: Sequence[CandidateFormat]) -> tuple[int, int] | None:
    """Columns of the nearest measured formats of the family with fewer and with more bits, if both exist."""
    family = [k for k, other in enumerate(measured) if _family(other) == _family(fmt) is not None]
    below = [k for k in family if measured[k].num_bits < fmt.num_bits]
    above = [k for k in family if measured[k].num_bits > fmt.num_bits]
    if not below or not above:
        return None
    return max(below, key=lambda k: measured[k].num_bits), min(above, key=lambda k: measured[k].num_bits)


def _family(fmt: CandidateFormat) -> tuple[object, ...] | None:
    """What uniform grids have in common but their bits; ``None`` for other grids."""
    if fmt.type is not ElementType.INT:
        return None
    return (fmt.strategy, fmt.group_size, fmt.symmetric, fmt.scale_dtype, fmt.scale_bits)
