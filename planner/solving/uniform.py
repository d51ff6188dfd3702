"""The uniform baseline: one format everywhere, under every limit of the plan."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from planner.build import Classes, GroupCurves
from planner.solving.rows import Row
from sensitivity.formats.abstract import AbstractFormat

Number = TypeVar("Number", np.int64, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Uniforms:
    """Every assignment with a single format, or with one format each part: an axis a part, a column an entry.

    Attributes:
        parts: groups of each part; none is empty.
        losses: float64, of each assignment; not finite where a group may not take its format.
        variances: float64, of the losses.
        bits: int64, stored bits.
        groups: how many there are.
    """

    parts: list[NDArray[np.int64]]
    losses: NDArray[np.float64]
    variances: NDArray[np.float64]
    bits: NDArray[np.int64]
    groups: int

    @classmethod
    def of(
        cls, classes: Classes[AbstractFormat], curves: GroupCurves, parts: Sequence[NDArray[np.int64]] | None = None
    ) -> "Uniforms":
        """All of them.

        Args:
            classes: layer groups, at least one.
            curves: their losses.
            parts: groups that have one format each part: those of weights, those of keys, those of values; by default all in one.
        """
        groups = len(classes.groups)
        chosen = [part for part in ([np.arange(groups)] if parts is None else parts) if len(part)]
        variances = _totals(np.square(curves.standard_error), chosen)
        return cls(chosen, _totals(curves.loss, chosen), variances, _totals(classes.sizes, chosen), groups)

    def best(
        self, budget_bits: int, rows: Sequence[Row] = (), *, most_loss: float | None = None, caution: float = 0.0
    ) -> tuple[int, ...] | None:
        """The column of each part, as ``uniform_choice`` has it."""
        losses = self.losses + caution * np.sqrt(self.variances) if caution else self.losses
        fits = np.isfinite(losses) & (self.bits <= budget_bits)
        for row in rows:
            fits &= _totals(row.table, self.parts) <= row.limit
        if most_loss is not None:
            fits &= losses <= most_loss
        if not fits.any():
            return None
        wanted = losses if most_loss is None else self.bits.astype(np.float64)
        best = int(np.where(fits, wanted, np.inf).argmin())
        return tuple(int(column) for column in np.unravel_index(best, losses.shape))

    def choice(self, columns: Sequence[int]) -> NDArray[np.int64]:
        """The assignment, int64 (groups,), that gives each part a column."""
        choice = np.empty(self.groups, dtype=np.int64)
        for part, column in zip(self.parts, columns, strict=True):
            choice[part] = column
        return choice


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
        parts: as for ``Uniforms.of``.
    """
    if not classes.groups:
        return None
    uniforms = Uniforms.of(classes, curves, parts)
    columns = uniforms.best(budget_bits, rows, most_loss=most_loss, caution=caution)
    return None if columns is None else uniforms.choice(columns)


def _totals(table: NDArray[Number], parts: Sequence[NDArray[np.int64]]) -> NDArray[Number]:
    """Sum over all groups for every choice of a column a part, with an axis a part."""
    totals: NDArray[Number] = reduce(np.add.outer, [table[part].sum(axis=0) for part in parts])
    return totals
