"""Multipliers of all rows together, and what every cell costs above the bound that they give."""

from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.ilp.model import Mask, Model

LP_CELLS = 40_000  # more cells than this are not given to the LP as a whole
WINDOW_CELLS = 6_000  # cells of the LP that polishes the multipliers of a large model
OBJECTIVE = 1e7  # largest loss in the LP: HiGHS's tolerance of 1e-7 is absolute
PASSES = 60
FLAT = 1e-12  # a model of the dual function that lies no higher than this above it, relatively, has been reached


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
    window = near.reduced <= np.partition(near.reduced, WINDOW_CELLS, axis=None)[WINDOW_CELLS]
    return _better(model, near, _lp_prices(model, window))


def _better(model: Model, known: Bound, prices: Floats | None) -> Bound:
    if prices is None:
        return known
    other = bound_at(model, prices)
    return other if other.height > known.height else known


def _lp_prices(model: Model, cells: Mask) -> Floats | None:
    """Multipliers of the LP over some cells by HiGHS, of all rows; ``None`` when it has no solution.

    Every row is divided by its largest coefficient: the multipliers only have to be good, not exact.
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array

    klass, item = np.nonzero(cells)
    columns = klass.shape[0]
    place = np.full(model.loss.shape, -1)
    place[klass, item] = np.arange(columns)
    scales, row_parts, column_parts, values, rooms = [], [], [], [], []
    for r, row in enumerate(model.rows):
        at = place[row.everywhere]
        inside = (at >= 0) & (row.above != 0)
        numbers, own = row.above[inside], np.flatnonzero(row.helpers)
        scale = float(max(numbers.max(initial=1), np.abs(row.helpers).max(initial=1)))
        scales.append(scale)
        column_parts += [at[inside], columns + row.first_helper + own]
        values += [numbers / scale, row.helpers[own] / scale]
        row_parts.append(np.full(numbers.shape[0] + own.shape[0], r))
        rooms.append(row.room / scale)
    total = columns + model.helpers
    entries = (np.concatenate(values), (np.concatenate(row_parts), np.concatenate(column_parts)))
    result = linprog(
        np.concatenate((model.loss[klass, item] * OBJECTIVE, np.zeros(model.helpers))),
        A_ub=csr_array(entries, shape=(len(model.rows), total)),
        b_ub=np.array(rooms),
        A_eq=csr_array((np.ones(columns), (klass, np.arange(columns))), shape=(model.loss.shape[0], total)),
        b_eq=np.ones(model.loss.shape[0]),
        bounds=(0, 1),
        method="highs-ds",
    )
    if result.status != 0:
        return None
    prices: Floats = np.maximum(-result.ineqlin.marginals, 0.0) / np.array(scales) / OBJECTIVE
    return prices


def _cutting_planes(model: Model, start: Bound) -> Bound:
    """Kelley's method in as many dimensions as there are rows: the dual function lies under each of its tangents.

    A box that grows keeps the first steps bounded. Source: Kelley 1960, *The cutting-plane method for solving convex programs*.
    """
    scales = np.array([float(max(row.above.max(initial=1), 1)) for row in model.rows])
    size = float(np.where(model.open, model.loss, 0.0).max(initial=0.0))
    best, cuts, box = start, [start], size
    for _ in range(PASSES):
        step = _highest_point(cuts, scales, box)
        if step is None:
            break
        prices, ceiling = step
        if ceiling - best.height <= FLAT * abs(ceiling):
            break
        here = bound_at(model, prices)
        cuts.append(here)
        best = here if here.height > best.height else best
        if bool((prices * scales >= box).any()):
            box *= 8.0
    return best


def _highest_point(cuts: list[Bound], scales: Floats, box: float) -> tuple[Floats, float] | None:
    """Where the lowest of the tangents is highest: multipliers and height."""
    from scipy.optimize import linprog

    slopes = np.array([cut.slope for cut in cuts]) / scales
    heights = np.array([cut.height for cut in cuts])
    at = np.einsum("jr,jr->j", slopes, np.array([cut.prices for cut in cuts]) * scales)
    result = linprog(
        np.append(np.zeros(scales.shape[0]), -1.0),
        A_ub=np.column_stack((-slopes, np.ones(len(cuts)))),
        b_ub=heights - at,
        bounds=[(0, box)] * scales.shape[0] + [(None, None)],
        method="highs-ds",
    )
    if result.status != 0:
        return None
    return np.maximum(result.x[:-1], 0.0) / scales, float(result.x[-1])
