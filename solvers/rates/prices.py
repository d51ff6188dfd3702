"""Prices of several budgets of bits, to machine precision: the dual of the rate problem by Newton's method.

At given prices every component has its bits in closed form, so the dual is a concave function of one number a budget.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats

NEWTON = 40  # steps that sharpen the multipliers at most
HALVINGS = 30  # of a step that leads too far
SUBSETS = 64  # of the rows that are tried where Newton's method does not settle
SWEEPS = 20  # rounds over the rows of one of them
LARGEST = 700.0  # logarithm of a price that float64 still holds
SETTLED = 1e-12  # relative violation at which multipliers are taken
LONG = 100.0  # widest range of ln(loss) that a price is looked for beyond the curves


@dataclass(frozen=True, slots=True, eq=False)
class RateProgram:
    """The rate problem above its fewest bits.

    Attributes:
        rows: float64 ``[R, N]``, A.
        room: float64 ``[R]``, budgets less their floors.
        gain: float64 ``[N]``, ln(c·ln β) − lo·ln β: log of the marginal loss at the fewest bits; ``-inf`` where c is 0.
        decay: float64 ``[N]``, ln β.
        width: float64 ``[N]``, hi − lo; 0 where a row without room is used, or nothing is lost.
    """

    rows: Floats
    room: Floats
    gain: Floats
    decay: Floats
    width: Floats


def bits_at(program: RateProgram, multipliers: Floats) -> Floats:
    """Bits above the fewest at these prices."""
    with np.errstate(divide="ignore", invalid="ignore"):
        free = np.where(program.width > 0, program.gain - np.log(multipliers @ program.rows), 0.0) / program.decay
    bits: Floats = np.clip(free, 0.0, program.width)
    return bits


def sharpen_prices(part: RateProgram, multipliers: Floats) -> Floats:
    """Clarabel's multipliers by Newton's method on the dual.

    Where that does not settle, rows are taken one at a time, then two together and so on, until those left out are kept for
    nothing: two rows that press on one component would otherwise pass its price to and fro.
    """
    best = _newton(part, multipliers)
    least = _violation(best, _over(part, best))
    rows = range(multipliers.shape[0])
    subsets = itertools.chain.from_iterable(itertools.combinations(rows, size) for size in range(1, len(rows) + 1))
    for subset in itertools.islice(subsets, SUBSETS):
        if least <= SETTLED:
            break
        trial = _swept(part, np.where(np.isin(rows, subset), best, 0.0), subset)
        violation = _violation(trial, _over(part, trial))
        if violation < least:
            best, least = trial, violation
    return best


def _swept(part: RateProgram, multipliers: Floats, rows: tuple[int, ...]) -> Floats:
    """The prices of some rows by sweeps over them and Newton's method; the others cost nothing."""
    chosen = list(rows)
    some = RateProgram(part.rows[chosen], part.room[chosen], part.gain, part.decay, part.width)
    prices = multipliers[chosen]
    for _ in range(SWEEPS):
        for r in range(len(chosen)):
            prices[r] = _row_price(some, prices, r)
        prices = _newton(some, prices)
        if _violation(prices, _over(some, prices)) <= SETTLED:
            break
    swept = np.zeros(multipliers.shape[0])
    swept[chosen] = prices
    return swept


def _over(part: RateProgram, multipliers: Floats) -> Floats:
    """What the bits at the multipliers take over each budget, relative to its room."""
    over: Floats = part.rows @ bits_at(part, multipliers) - 1.0
    return over


def _newton(part: RateProgram, multipliers: Floats) -> Floats:
    """Newton's method: the gradient of the dual is what the bits at the multipliers take over the budgets.

    The curvature is damped by the violation, so that a step leads along a ridge on which no component answers, and a step is
    halved until the dual, which is concave, does not fall on the way or the violation shrinks.
    """
    over = _over(part, multipliers)
    for _ in range(NEWTON):
        violation, largest = _violation(multipliers, over), float(multipliers.max())
        if violation <= SETTLED or largest == 0:
            break
        free = multipliers > -over * largest  # the other rows have slack and will have no price
        bits, price = bits_at(part, multipliers), multipliers @ part.rows
        between = (bits > 0) & (bits < part.width) & (price > 0)
        rows = part.rows[np.ix_(free, between)]
        curvature = (rows / (price * part.decay)[between]) @ rows.T
        curvature[np.diag_indices_from(curvature)] += violation / largest
        step = np.where(free, 0.0, -multipliers)
        step[free] = np.linalg.lstsq(curvature, over[free], rcond=None)[0]
        for shorter in range(HALVINGS):
            trial = np.maximum(multipliers + step * 0.5**shorter, 0.0)
            left = _over(part, trial)
            if left @ (trial - multipliers) > 0 or _violation(trial, left) < violation:
                break
        else:
            break
        multipliers, over = trial, left
    return multipliers


def _row_price(part: RateProgram, multipliers: Floats, r: int) -> float:
    """The price at which one row is just kept beside the other prices, by bisection on its logarithm; 0 if it is kept free."""
    trial = multipliers.copy()

    def over(price: float) -> bool:
        trial[r] = price
        return float(part.rows[r] @ bits_at(part, trial)) > 1.0

    charged = (part.rows[r] > 0) & (part.width > 0)
    if not over(0.0) or not charged.any():
        return 0.0
    steepest = part.gain[charged] - np.log(part.rows[r, charged])
    high = min(float(steepest.max()), LARGEST)
    low = min(float((steepest - np.minimum(part.width[charged], LONG) * part.decay[charged]).min()), high) - LONG
    while low < (middle := low + (high - low) / 2) < high and high - low > 1e-15 * abs(high):
        low, high = (middle, high) if over(math.exp(middle)) else (low, middle)
    return math.exp(high)


def _violation(multipliers: Floats, over: Floats) -> float:
    """How far the rows are from "no slack or no price", both relative."""
    largest = float(multipliers.max())
    return float(np.abs(np.minimum(multipliers / largest, -over)).max()) if largest > 0 else float(over.max())
