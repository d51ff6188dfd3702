"""The core of a problem with two budgets: the moves that may matter, in the order of the search, and what bounds the rest.

What the classes to come ask of a state is bounded by planes. Let the sizes of a state lie ``over`` the slacks, and take any
``(α, β)`` with ``α ≥ −λ`` and ``β ≥ −μ``. However the search goes on, its gap is at least

    ``cost + α·over₁ + β·over₂ + Σ_classes to come min(0, min_moves(cost + α·first + β·second))``,

the Lagrangian bound of the rest with the multipliers ``λ + α`` and ``μ + β``. Planes are laid in directions all around: the
steepest for which the sum is zero, which grow as the classes pass (Pisinger's bounds in two dimensions), and a few steeper
ones, which bound the states that are far from the slacks.
"""

from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.mckp.two_moves import TwoCorner, TwoMoves

DIRECTIONS = 32
RANKS = (8, 16, 32, 64, 128, 256)  # steeper planes: how many moves go against them more cheaply than they charge
STEEPEST = 100.0  # gaps per mean move: a steeper plane would be decided by rounding
PROBES = 64  # states that tell which of the steeper planes to look at


@dataclass(frozen=True, slots=True, eq=False)
class TwoCore:
    """The moves that may be part of a better choice, class by class.

    Attributes:
        moves: sorted so that a class is one run, the class with the cheapest move per length first.
        starts: int64 ``[C + 1]``, where the runs begin, and the end.
        cheapest: float64 ``[C + 1]``, least cost of a move in this class and those after it; ``inf`` at the end.
        slopes: float64 ``[C + 1, D, 2]``, the planes without a sum for the moves from this class on, per unit of size.
        steeper: float64 ``[P, 2]``, the planes with a sum.
        sums: float64 ``[C + 1, P]``, ≤ 0, their sums over the moves from this class on.
    """

    moves: TwoMoves
    starts: Integers
    cheapest: Floats
    slopes: Floats
    steeper: Floats
    sums: Floats

    def bounds(self, first: int, over: Floats, cost: Floats) -> Floats:
        """Least gap that the states can end with, by the planes without a sum; ``over`` is ``[2, S]``."""
        bound: Floats = np.maximum((self.slopes[first] @ over).max(axis=0), 0.0)
        return bound + cost

    def steep_bounds(self, first: int, over: Floats, cost: Floats) -> Floats:
        """The same by the steeper planes that matter to a sample of the states."""
        probes = over[:, :: max(over.shape[1] // PROBES, 1)]
        planes = np.unique((self.steeper @ probes + self.sums[first][:, None]).argmax(axis=0))
        bound: Floats = (self.steeper[planes] @ over + self.sums[first][planes, None]).max(axis=0)
        return bound + cost


def gather_two_core(corner: TwoCorner, moves: TwoMoves, gap: float) -> TwoCore:
    """The moves that cost less than ``gap``, sorted for the search, and the planes that bound it."""
    kept = moves.pick(moves.cost < gap)
    units = np.maximum(np.abs(kept.sizes).mean(axis=1), 1.0) if kept.count else np.ones(2)
    rate = kept.cost / np.hypot(*(kept.sizes / units[:, None]))
    by_class = np.lexsort((rate, kept.klass))
    begins = np.flatnonzero(np.diff(kept.klass[by_class], prepend=-1))
    run_order = np.argsort(rate[by_class][begins], kind="stable")
    lengths = np.diff(begins, append=kept.count)[run_order]
    starts = np.concatenate(([0], np.cumsum(lengths)))
    kept = kept.pick(by_class[np.repeat(begins[run_order] - starts[:-1], lengths) + np.arange(kept.count)])
    cheapest = _least_from(kept.cost[:, None], starts)[:, 0]
    return TwoCore(kept, starts, cheapest, *_planes(corner, kept, starts, units, gap))


def _least_from(values: Floats, starts: Integers) -> Floats:
    """The least value of each run and of all runs after it, by column; ``inf`` after the last."""
    padded = np.concatenate((values, np.full((1, values.shape[1]), np.inf)))
    least: Floats = np.minimum.accumulate(padded[::-1])[::-1][starts]
    return least


def _planes(corner: TwoCorner, moves: TwoMoves, starts: Integers, units: Floats, gap: float) -> tuple[Floats, Floats, Floats]:
    directions = _directions(corner, units)
    along = (moves.sizes / units[:, None]).T @ directions
    with np.errstate(over="ignore"):
        rates = np.where(along < 0, moves.cost[:, None], np.inf) / np.where(along < 0, -along, 1.0)
    charge = np.array(corner.multipliers) * units
    backward = directions < 0
    most = np.where(backward, charge[:, None] / np.where(backward, -directions, 1.0), np.inf).min(axis=0)
    axis = (directions == 0).any(axis=0)
    least = np.minimum(_least_from(rates, starts), np.minimum(most, np.where(axis, gap * units.max(), STEEPEST * gap)))
    slopes = least[:, :, None] * (directions.T / units)
    ranks = [rank for rank in RANKS if rank < moves.count]
    charged = np.minimum(np.sort(rates, axis=0)[ranks], np.minimum(most, STEEPEST * gap))  # [Q, D]
    steeper = (charged[:, :, None] * (directions.T / units)).reshape(-1, 2)
    return slopes, steeper, _sums(moves.cost, along, charged, starts)


def _directions(corner: TwoCorner, units: Floats) -> Floats:
    """Unit vectors ``[2, D]`` all around, the axes exact, and the one along which the multipliers charge for unused budget."""
    angles = np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS)
    around = np.round(np.stack((np.cos(angles), np.sin(angles))), 15)
    charge = -np.array(corner.multipliers) * units
    if not charge.any():
        return around
    return np.concatenate((around, (charge / np.hypot(*charge))[:, None]), axis=1)


def _sums(cost: Floats, along: Floats, charged: Floats, starts: Integers) -> Floats:
    """Σ over the classes from each on of ``min(0, least cost + charge·along)``, ``[C + 1, Q·D]``."""
    if charged.size == 0:
        return np.zeros((starts.shape[0], 0))
    priced = cost[:, None, None] + along[:, None, :] * charged
    least = np.minimum(np.minimum.reduceat(priced.reshape(cost.shape[0], -1), starts[:-1], axis=0), 0.0)
    return np.concatenate((np.cumsum(least[::-1], axis=0)[::-1], np.zeros((1, least.shape[1]))))
