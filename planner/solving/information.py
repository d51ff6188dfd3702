"""What it is worth to measure a cell exactly, and what a plan may still lose for want of exact cells.

Losses are believed to be log-normal: above zero whatever their error is, independent between layers, and correlated between the
formats of a layer, so that an exact cell tells of its neighbours.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

import solvers
from planner.build import Classes, GroupCurves
from planner.solving.plan import Solved, pose_problem

DRAWS: Final = 64
"""Draws of all losses that the expected regret is the mean of."""
SURE: Final = 0.9
"""Share of the draws that a plan's regret is to be within the tolerance in."""
_SECONDS_OF_A_DRAW: Final = 5.0
_FAR: Final = 50.0
"""Standard deviations that no normal variable is away from its mean."""


@dataclass(frozen=True, slots=True, eq=False)
class Uncertainty:
    """What exact measurements would change of the losses of layers.

    Attributes:
        loss: float64 (layers, formats): means, above 0 where there is an error; NaN where there is none.
        error: float64 (layers, formats): standard errors, above 0 where an exact measurement would tell something; else 0.
        covariance: float64 (layers, formats, formats): of the logarithms of the losses that have an error; 0 elsewhere.
    """

    loss: NDArray[np.float64]
    error: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @classmethod
    def independent(cls, loss: NDArray[np.float64], error: NDArray[np.float64]) -> "Uncertainty":
        """Of cells that tell nothing of each other."""
        relative = np.divide(error, loss, out=np.zeros_like(error), where=loss > 0)
        return cls(loss, error, np.log1p(np.square(relative))[:, :, None] * np.eye(loss.shape[1]))

    def covariance_of_losses(self) -> NDArray[np.float64]:
        """Covariance of the losses themselves, float64 (layers, formats, formats)."""
        loss = np.where(self.error > 0, self.loss, 0.0)
        found: NDArray[np.float64] = loss[:, :, None] * loss[:, None, :] * np.expm1(self.covariance)
        return found

    def roots(self) -> NDArray[np.float64]:
        """Symmetric square roots of ``covariance``, for ``changes``."""
        values, vectors = np.linalg.eigh(self.covariance)
        found: NDArray[np.float64] = (vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]) @ np.swapaxes(vectors, 1, 2)
        return found

    def changes(self, roots: NDArray[np.float64], normal: NDArray[np.float64]) -> NDArray[np.float64]:
        """What a draw adds to the losses, float64 (layers, formats), from standard normal numbers of that shape."""
        half = np.diagonal(self.covariance, axis1=1, axis2=2) / 2
        factor = np.expm1((roots @ normal[:, :, None])[:, :, 0] - half)
        return np.where(self.error > 0, self.loss * factor, 0.0)


def information_values(priced: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much loss the exact number of one cell saves on average, at a fixed price of a bit, float64 (groups, formats).

    At a fixed price each group takes the format of the least ``loss + price·size``. The exact number of cell k moves what is
    believed of format j by ``Cov(j, k)/√Var(k)`` for each standard deviation that it is off, and the choice may follow it: the
    expected saving is ``min_j m_j − E min_j (m_j + σ̃_j Z)``, the knowledge gradient for correlated beliefs (Frazier, Powell
    and Dayanik, INFORMS J. Comput. 21, 2009). It is integrated exactly, between the places where the best format changes. It
    is large for wide errors on cells that a choice hangs on, and 0 for cells that are exact.

    Args:
        priced: float64 (groups, formats): loss + price × size; ``inf`` where not legal.
        covariance: float64 (groups, formats, formats): of the losses; 0 where an exact measurement would tell nothing.
    """
    if not priced.size:
        return np.zeros(priced.shape)
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    best = priced.argmin(axis=1)
    rows = np.arange(len(priced))
    values = np.zeros(priced.shape)
    for k in range(priced.shape[1]):
        measured = np.flatnonzero((variance[:, k] > 0) & np.isfinite(priced[:, k]))
        if not len(measured):
            continue
        slope = covariance[measured, :, k] / np.sqrt(variance[measured, k])[:, None]
        here = rows[: len(measured)]
        slope = slope - slope[here, best[measured]][:, None]
        lead = priced[measured] - priced[measured, best[measured]][:, None]
        values[measured, k] = np.maximum(-_mean_of_least(lead, np.where(np.isfinite(lead), slope, 0.0)), 0.0)
    return values


def _mean_of_least(level: NDArray[np.float64], slope: NDArray[np.float64]) -> NDArray[np.float64]:
    """``E min_j (level_j + slope_j Z)`` for each row, Z standard normal; one line of a row is zero, other levels are above it."""
    from scipy.special import ndtr  # here, so that plans do without it

    first, second = np.triu_indices(level.shape[1], 1)
    turn = slope[:, first] - slope[:, second]
    illegal = ~np.isfinite(level)
    flat = np.where(illegal, 0.0, level)
    difference = flat[:, second] - flat[:, first]
    crosses = ~illegal[:, first] & ~illegal[:, second] & (np.abs(difference) < _FAR * np.abs(turn))
    crossing = np.divide(difference, turn, out=np.full(turn.shape, np.inf), where=crosses)
    ends = np.full((len(level), 1), np.inf)
    limits = np.sort(np.concatenate([-ends, crossing, ends], axis=1), axis=1)
    low, high = limits[:, :-1], limits[:, 1:]
    middle = (np.clip(low, -_FAR, _FAR) + np.clip(high, -_FAR, _FAR)) / 2
    reached = np.where(illegal[:, :, None], np.inf, flat[:, :, None] + slope[:, :, None] * middle[:, None, :])
    least = reached.argmin(axis=1)
    upper = low > 0
    mass = np.where(upper, ndtr(-low) - ndtr(-high), ndtr(high) - ndtr(low))
    moment = (np.exp(-np.square(low) / 2) - np.exp(-np.square(high) / 2)) / math.sqrt(2 * math.pi)
    parts = np.take_along_axis(flat, least, axis=1) * mass + np.take_along_axis(slope, least, axis=1) * moment
    found: NDArray[np.float64] = parts.sum(axis=1)
    return found


@dataclass(frozen=True, slots=True)
class Regret:
    """What a plan loses to the plan that exact cells would give.

    Attributes:
        mean: over the draws, in the unit of the losses.
        standard_error: of the mean.
        high: not exceeded in ``SURE`` of the draws.
    """

    mean: float
    standard_error: float
    high: float


def expected_regret(
    classes: Classes, curves: GroupCurves, solved: Solved, uncertainty: Uncertainty, *, seed: int, draws: int = DRAWS
) -> Regret:
    """Mean of ``loss(plan) − loss(best plan)`` over draws of what the losses may be; the best plan of a draw is solved exactly.

    Args:
        classes: layer groups.
        curves: their losses.
        solved: the plan, without counts and caution.
        uncertainty: of the layers' losses.
        seed: of the draws; two plans with the same seed are judged on the same draws.
        draws: how many, ≥ 2.
    """
    if not uncertainty.error.any():
        return Regret(0.0, 0.0, 0.0)
    random = np.random.default_rng(seed)
    rows = np.arange(len(classes.groups))
    roots = uncertainty.roots()
    found = np.empty(draws)
    for draw in range(draws):
        change = np.zeros(curves.loss.shape)
        np.add.at(change, classes.group_of_layer, uncertainty.changes(roots, random.standard_normal(uncertainty.error.shape)))
        loss = np.where(np.isfinite(curves.loss), curves.loss + change, np.inf)
        problem = pose_problem(classes, GroupCurves(loss, curves.standard_error, ()), solved.budget_bits)
        best = solvers.solve(problem, solvers.Mckp(), deadline=_SECONDS_OF_A_DRAW)
        found[draw] = loss[rows, solved.proved.choice].sum() - best.loss
    found = np.maximum(found, 0.0)
    return Regret(float(found.mean()), float(found.std(ddof=1) / math.sqrt(draws)), float(np.quantile(found, SURE)))
