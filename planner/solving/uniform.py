"""The uniform baseline: one format everywhere, under every limit of the plan."""

from collections.abc import Sequence
from functools import reduce
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from planner.build import Classes, GroupCurves
from planner.solving.rows import Row
from sensitivity.formats.abstract import AbstractFormat

Number = TypeVar("Number", np.int64, np.float64)


def uniform_choice(
    classes: Classes[AbstractFormat],
    curves: GroupCurves,
    budget_bits: int,
    rows: Sequence[Row] = (),
    *,
    most_loss: float | None = None,
    caution: float = 0.0,
    parts: Sequence[NDArray[np.int64]] | None = None,
) -> NDArray[np.int64] | None:
    """The best assignment with a single format within the budget and the rows, int64 (groups,), or ``None`` where none fits.

    Args:
        classes: layer groups.
        curves: their losses.
        budget_bits: stored bits of all groups.
        rows: limits to keep besides.
        most_loss: take the smallest one that loses no more than this, instead of the one that loses least.
        caution: standard errors of the loss that count as loss.
        parts: groups that have one format each part: those of weights, those of keys, those of values; by default all in one.
    """
    if not classes.groups:
        return None
    chosen = [part for part in ([np.arange(len(classes.groups))] if parts is None else parts) if len(part)]
    losses = _totals(curves.loss, chosen)
    if caution:
        losses = losses + caution * np.sqrt(_totals(np.square(curves.standard_error), chosen))
    bits = _totals(classes.sizes, chosen)
    fits = np.isfinite(losses) & (bits <= budget_bits)
    for row in rows:
        fits &= _totals(row.table, chosen) <= row.limit
    if most_loss is not None:
        fits &= losses <= most_loss
    if not fits.any():
        return None
    wanted = losses if most_loss is None else bits.astype(np.float64)
    columns = np.unravel_index(int(np.where(fits, wanted, np.inf).argmin()), losses.shape)
    choice = np.empty(len(classes.groups), dtype=np.int64)
    for part, column in zip(chosen, columns, strict=True):
        choice[part] = column
    return choice


def _totals(table: NDArray[Number], parts: Sequence[NDArray[np.int64]]) -> NDArray[Number]:
    """Sum over all groups for every choice of a column a part, with an axis a part."""
    totals: NDArray[Number] = reduce(np.add.outer, [table[part].sum(axis=0) for part in parts])
    return totals
