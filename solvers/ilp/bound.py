"""Multipliers of all rows together, and what every cell costs above the bound that they give."""

from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.ilp.model import Mask, Model, ModelRow

LP_CELLS = 40_000  # more cells than this are not given to the LP as a whole
WINDOW_CELLS = 3_000  # cells of the LP that polishes the multipliers of a large model
OBJECTIVE = 1e7  # largest loss in the LP: HiGHS's tolerance of 1e-7 is absolute
PASSES = 60
WIDE_ROWS = 8  # rows whose multipliers cutting planes look for
FLAT = 1e-10  # a model of the dual function that lies no higher than this above it, relatively, has been reached


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A Lagrangian bound, in the scaled losses of a model.

    ``Σ_i loss[i, x_i] ≥ height`` for every choice that keeps the rows, with ``height = Σ_i min_k priced[i, k] + Σ_h
    min(0, Σ_r μ_r·helpers[r, h]) − Σ_r μ_r·room_r`` and ``priced = loss + Σ_r μ_r·above_r``.

    Attributes:
        prices: float64 ``[M]``, μ ≥ 0, scaled loss per unit of each row.
        reduced: float64 ``[N, K]``, priced above the least of the class; ``inf`` where not open.
        helper_prices: float64 ``[H]``, ``Σ_r μ_r·helpers[r, h]``.
        height: the bound.
        slope: float64 ``[M]``, what the cheapest choice takes of each row beyond its room.
    """

    prices: Floats
    reduced: Floats
    helper_prices: Floats
    height: float
    slope: Floats

    def cheapest(self) -> Integers:
        """The choice of least priced loss, int64 ``[N]``; it need not keep the rows."""
        choice: Integers = self.reduced.argmin(axis=1)
        return choice


@dataclass(frozen=True, slots=True, eq=False)
class _LpRow:
    """A row of the LP, divided by ``scale``."""

    columns: Integers
    values: Floats
    room: float
    scale: float


def bound_at(model: Model, prices: Floats) -> Bound:
    """The bound at any multipliers ≥ 0; one pass over the rows."""
    priced, helper_prices = model.loss.copy(order="K"), np.zeros(model.helpers)
    for price, row in zip(prices.tolist(), model.rows, strict=True):
        if price > 0:
            priced[row.everywhere] += price * row.above
            helper_prices[row.first_helper : row.first_helper + row.helpers.shape[0]] += price * row.helpers
    least = priced.min(axis=1)
    rooms = np.array([float(row.room) for row in model.rows])
    height = float(least.sum() + np.minimum(helper_prices, 0.0).sum() - prices @ rooms)
    priced -= least[:, None]
    return Bound(prices, priced, helper_prices, height, _slope(model, priced.argmin(axis=1), helper_prices))


def _slope(model: Model, choice: Integers, helper_prices: Floats) -> Floats:
    taken = (helper_prices < 0).astype(np.int64)
    slope = np.empty(len(model.rows))
    for r, row in enumerate(model.rows):
        total = int(row.above[np.arange(row.classes.shape[0]), choice[row.classes]].sum())
        total += int(row.helpers @ taken[row.first_helper : row.first_helper + row.helpers.shape[0]])
        slope[r] = total - row.room
    return slope


def lagrangian_bound(model: Model) -> Bound:
    """The best bound found: by the LP, or for large models by cutting planes and the LP of the cells near the bound."""
    free = bound_at(model, np.zeros(len(model.rows)))
    if not model.rows or bool((free.slope <= 0).all()):
        return free
    if int(model.open.sum()) <= LP_CELLS:
        return _better(model, free, _lp_prices(model, model.open))
    near = _cutting_planes(model, free)
    return _better(model, near, _lp_prices(model, cells_near(near.reduced, WINDOW_CELLS)))


def cells_near(reduced: Floats, count: int) -> Mask:
    """The cheapest cell of each class and about ``count`` more of least reduced cost, bool ``[N, K]``."""
    rank = reduced.shape[0] + count
    near: Mask = np.isfinite(reduced)
    if rank < reduced.size:
        near &= reduced <= np.partition(reduced, rank, axis=None)[rank]
    return near


def _better(model: Model, known: Bound, prices: Floats | None) -> Bound:
    if prices is None:
        return known
    other = bound_at(model, prices)
    return other if other.height > known.height else known


def _lp_prices(model: Model, cells: Mask) -> Floats | None:
    """Multipliers of the LP over some cells by HiGHS, of all rows; ``None`` when it has no solution.

    Classes with one cell are taken out. Every row is divided by its largest coefficient: the multipliers only have to be
    good, not exact.
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array

    several = cells.sum(axis=1) > 1
    klass, item = np.nonzero(cells & several[:, None])
    columns, classes = klass.shape[0], int(several.sum())
    place = np.full(model.loss.shape, -1)
    place[klass, item] = np.arange(columns)
    only = np.where(several, -1, cells.argmax(axis=1))
    rows = [_lp_row(row, place, only, columns) for row in model.rows]
    lengths = [row.columns.shape[0] for row in rows]
    entries = np.concatenate([row.values for row in rows])
    at = (np.repeat(np.arange(len(rows)), lengths), np.concatenate([row.columns for row in rows]))
    total = columns + model.helpers
    each = (np.cumsum(several)[klass] - 1, np.arange(columns))
    result = linprog(
        np.concatenate((model.loss[klass, item] * OBJECTIVE, np.zeros(model.helpers))),
        A_ub=csr_array((entries, at), shape=(len(rows), total)),
        b_ub=np.array([row.room for row in rows]),
        A_eq=csr_array((np.ones(columns), each), shape=(classes, total)),
        b_eq=np.ones(classes),
        bounds=(0, 1),
        method="highs-ds",
    )
    if result.status != 0:
        return None
    prices: Floats = np.maximum(-result.ineqlin.marginals, 0.0) / np.array([row.scale for row in rows]) / OBJECTIVE
    return prices


def _lp_row(row: ModelRow, place: Integers, only: Integers, columns: int) -> _LpRow:
    at, alone = place[row.everywhere], only[row.everywhere]
    inside = (at >= 0) & (row.above != 0)
    own = np.flatnonzero(row.helpers)
    single = np.flatnonzero(alone >= 0)
    room = row.room - int(row.above[single, alone[single]].sum())
    values = np.concatenate((row.above[inside], row.helpers[own])).astype(np.float64)
    scale = float(np.abs(values).max(initial=1.0))
    return _LpRow(np.concatenate((at[inside], columns + row.first_helper + own)), values / scale, room / scale, scale)


def _cutting_planes(model: Model, start: Bound) -> Bound:
    """Kelley's method over the rows of most classes: the dual function lies under each of its tangents.

    Rows of few classes keep the multiplier 0 here. A box that grows keeps the first steps bounded. Source: Kelley 1960, *The
    cutting-plane method for solving convex programs*.
    """
    widths = np.array([-row.classes.shape[0] for row in model.rows])
    rows = np.sort(np.argsort(widths, kind="stable")[:WIDE_ROWS])
    scales = np.array([float(model.rows[r].above.max(initial=1)) for r in rows])
    best, cuts = start, [start]
    box = float(np.where(model.open, model.loss, 0.0).max(initial=0.0))
    for _ in range(PASSES):
        step = _highest_point(cuts, rows, scales, box)
        if step is None or step[1] - best.height <= FLAT * abs(step[1]):
            break
        prices = np.zeros(len(model.rows))
        prices[rows] = step[0] / scales
        here = bound_at(model, prices)
        cuts.append(here)
        best = here if here.height > best.height else best
        if bool((step[0] >= box * 0.999).any()):
            box *= 8.0
    return best


def _highest_point(cuts: list[Bound], rows: Integers, scales: Floats, box: float) -> tuple[Floats, float] | None:
    """Where the lowest of the tangents is highest: scaled multipliers and height."""
    from scipy.optimize import linprog

    unit = OBJECTIVE / box
    slopes = np.array([cut.slope[rows] for cut in cuts]) / scales
    points = np.array([cut.prices[rows] for cut in cuts]) * scales
    result = linprog(
        np.append(np.zeros(scales.shape[0]), -1.0),
        A_ub=np.column_stack((-slopes, np.ones(len(cuts)))),
        b_ub=(np.array([cut.height for cut in cuts]) - (slopes * points).sum(axis=1)) * unit,
        bounds=[(0, OBJECTIVE)] * scales.shape[0] + [(None, None)],
        method="highs-ds",
    )
    return (np.maximum(result.x[:-1], 0.0) / unit, float(result.x[-1]) / unit) if result.status == 0 else None
