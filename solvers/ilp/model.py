"""Budgets and side rules as one list of rows over the cells, made tight in exact integers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.problem import Problem

Mask = NDArray[np.bool_]
PASSES = 20  # over the rows; each pass but the last puts cells aside


class NoChoiceError(Exception):
    """Some row cannot be kept, whatever is chosen: exact arithmetic says so."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelRow:
    """``Σ_i above[i, x_i] + Σ_h helpers[h]·y_h ≤ room`` with the sizes counted above the least of their class.

    Attributes:
        classes: int64 ``[T]``, the classes that the row looks at.
        above: int64 ``[T, K]``, ≥ 0 with a 0 in every class over its open cells; other cells hold anything.
        room: whole number.
        helpers: int64 ``[H_row]``, coefficients of the 0/1 helpers.
        first_helper: where these helpers begin among all of the model.
        unit: what the coefficients and the room were divided by.
        source: place of the row among the budgets and after them the linear rows of the rules.
    """

    classes: Integers
    above: Integers
    room: int
    helpers: Integers
    first_helper: int
    unit: int
    source: int

    @property
    def everywhere(self) -> slice | Integers:
        """The classes as an index, which costs nothing when they are all."""
        count = self.classes.shape[0]
        return slice(0, count) if count and int(self.classes[-1]) == count - 1 and int(self.classes[0]) == 0 else self.classes


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A problem after presolve.

    Attributes:
        loss: float64 ``[N, K]``, above the least open one of the class, times 2^−``exponent``; ``inf`` where not open.
        open: bool ``[N, K]``, the cells that a choice may take; every other cell is forbidden or does not fit.
        rows: what binds; a row that no choice can break is not among them.
        helpers: number of helpers of all rules.
        exponent: power of two by which the losses were divided, so that the largest is near 1.
        sources: number of budgets and linear rows of rules.
        lossless: dividing rounded no loss away; otherwise a best choice of the model need not be one of the problem.
    """

    loss: Floats
    open: Mask
    rows: list[ModelRow]
    helpers: int
    exponent: int
    sources: int
    lossless: bool


@dataclass(slots=True, eq=False)
class _Row:
    """A row as it was given, and the number of its first helper."""

    classes: Integers
    table: Integers
    bound: int
    helpers: Integers
    first_helper: int


def build_model(problem: Problem) -> Model:
    """Rows from the budgets and the rules; cells that no row leaves room for are put aside until nothing changes.

    Raises:
        NoChoiceError: the rows cannot be kept, each for itself but with the cells that the others leave.
    """
    given, helpers = _gather(problem)
    still_open = problem.allowed()
    waiting = list(range(len(given)))
    for _ in range(PASSES):
        before = int(still_open.sum())
        waiting = [r for r in waiting if _tighten(given[r], still_open)]
        if int(still_open.sum()) == before:
            break
    rows = [_finish(given[r], still_open, r) for r in waiting]
    loss, exponent, lossless = _scaled(problem.loss, still_open)
    return Model(loss, still_open, rows, helpers, exponent, len(given), lossless)


def _gather(problem: Problem) -> tuple[list[_Row], int]:
    everywhere, nothing = np.arange(problem.classes), np.empty(0, dtype=np.int64)
    rows = [_Row(everywhere, table, int(b), nothing, 0) for table, b in zip(problem.sizes, problem.budgets, strict=True)]
    helpers = 0
    for rule in problem.rules:
        own = 0
        for row in rule.rows(problem.classes, problem.items):
            classes = everywhere if row.classes is None else row.classes
            numbers = nothing if row.helpers is None else row.helpers
            own = max(own, numbers.shape[0])
            rows.append(_Row(classes, row.coefficients, row.bound, numbers, helpers))
        helpers += own
    return rows, helpers


def _tighten(row: _Row, still_open: Mask) -> bool:
    """Close the cells that do not fit (in place); False when no choice of the rest can break the row.

    Raises:
        NoChoiceError: even the least of every class is too much.
    """
    cells = still_open[row.classes]
    least = _extreme(row.table, cells, lowest=True)
    room = row.bound - _total(least) - int(np.minimum(row.helpers, 0).sum())
    if room < 0:
        msg = (
            f"budgets and rules cannot be kept together: a row of them allows {row.bound}, and with the items that the others "
            f"leave it takes {row.bound - room} at least; raise or loosen one of them"
        )
        raise NoChoiceError(msg)
    most = _extreme(row.table, cells, lowest=False)
    if _total(most) - _total(least) + int(np.abs(row.helpers).sum()) <= room:
        return False
    fits = cells & (row.table - least[:, None] <= room)
    if not np.array_equal(fits, cells):
        still_open[row.classes] = fits
    return True


def _extreme(table: Integers, cells: Mask, *, lowest: bool) -> Integers:
    """Least or greatest open number of each class, int64 ``[T]``."""
    limits = np.iinfo(np.int64)
    if table.shape[0] == 0:
        return np.zeros(0, dtype=np.int64)
    masked = np.where(cells, table, limits.max if lowest else limits.min)
    extreme: Integers = masked.min(axis=1) if lowest else masked.max(axis=1)
    return extreme


def _total(numbers: Integers) -> int:
    return int(numbers.sum(dtype=np.int64))


def _finish(row: _Row, still_open: Mask, source: int) -> ModelRow:
    cells = still_open[row.classes]
    least = _extreme(row.table, cells, lowest=True)
    above = np.where(cells, row.table - least[:, None], 0)
    room = row.bound - _total(least)
    unit = 1 if row.helpers.size else max(int(np.gcd.reduce(above, axis=None)), 1)
    return ModelRow(row.classes, above // unit, room // unit, row.helpers, row.first_helper, unit, source)


def _scaled(loss: Floats, still_open: Mask) -> tuple[Floats, int, bool]:
    finite = np.where(still_open, loss, 0.0)
    exponent = int(np.frexp(np.abs(finite).max(initial=0.0))[1])
    divided = np.ldexp(finite, -exponent)
    lossless = np.array_equal(np.ldexp(divided, exponent), finite)
    scaled = np.where(still_open, divided, np.inf)
    return scaled - scaled.min(axis=1, keepdims=True), exponent, lossless


def row_totals(model: Model, choice: Integers) -> list[int]:
    """``Σ_i above[i, x_i]`` of every row, exact; helpers are not in it."""
    return [_total(row.above[np.arange(row.classes.shape[0]), choice[row.classes]]) for row in model.rows]
