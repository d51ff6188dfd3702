"""Continuous bits under several budgets: water-filling's problem with more than one row, as QBitOpt poses it.

    min Σ_j c_j·β_j^(−b_j)   subject to   Σ_j A[r,j]·(b_j + o_j) ≤ B_r,   lo_j ≤ b_j ≤ hi_j

An exponential-cone program, modelled in cvxpy and solved by Clarabel (QBitOpt, arXiv 2307.04535, solves such a program for
every few hundred training steps). What it returns is not believed: the bits are moved within the budgets, and the bound is
recomputed from the multipliers, at which every component has a closed form.
"""

import itertools
import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import Floats
from solvers.driver import relative_gap
from solvers.errors import ProblemError
from solvers.rate_components import Components
from solvers.solution import Status
from solvers.solver import Deadline
from solvers.water_filling import water_fill

NEWTON = 40  # steps that sharpen the multipliers at most
HALVINGS = 30  # of a step that leads too far
SUBSETS = 64  # of the rows that are tried where Newton's method does not settle
SWEEPS = 20  # rounds over the rows of one of them
LARGEST = 700.0  # logarithm of a price that float64 still holds
SETTLED = 1e-12  # relative violation at which multipliers are taken
LONG = 100.0  # widest range of ln(loss) that a price is looked for beyond the curves
PROVED = 1e-6  # relative gap up to which bits are called OPTIMAL


@dataclass(frozen=True, slots=True, eq=False)
class RatePlan:
    """Bits under several budgets, and what they prove.

    Attributes:
        status: OPTIMAL with a gap of 1e-6 or less; LIMIT or FEASIBLE with a larger one, when Clarabel ran out of time or got
            stuck; INFEASIBLE when a budget is below its floor (the bits are then the fewest).
        bits: float64 ``[N]``, within every budget up to rounding.
        loss: Σ c·β^(−bits).
        multipliers: float64 ``[R]``, loss saved by one more unit of each budget.
        sizes: float64 ``[R]``.
        floors: float64 ``[R]``, the least of each budget.
        lower_bound: no bits within the budgets lose less, see ``rate_bound``.
        gap: (loss − lower_bound)/loss.
    """

    status: Status
    bits: Floats
    loss: float
    multipliers: Floats
    sizes: Floats
    floors: Floats
    lower_bound: float
    gap: float


@dataclass(frozen=True, slots=True, eq=False)
class _Program:
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


def rate_plan(components: Components, rows: ArrayLike, budgets: ArrayLike, *, deadline: float | None = None) -> RatePlan:
    """The bits of least loss under several budgets.

    With one budget use ``water_fill``: exact, and some hundred times faster. Clarabel's multipliers are right to about 1e-7;
    Newton's method on the dual sharpens them, and ``gap`` says what is left, mostly rounding.

    Args:
        components: who shares the bits; their ``weights`` are not read, the rows stand in their place.
        rows: A ≥ 0, float64 ``[R, N]``, what one bit more of a component costs in each budget.
        budgets: float64 ``[R]``.
        deadline: wall seconds for Clarabel; without an answer by then, the bits of the summed budgets are scaled down.

    Raises:
        ProblemError: rows or budgets that do not fit, or a component without a limit that no row charges.
        SettingError: a negative deadline.
    """
    stop = Deadline.after(deadline)
    matrix, limits = _checked(components, rows, budgets)
    floors = matrix @ (components.low + components.side_bits)
    if (floors > limits).any():
        return _finished(components, matrix, limits, components.low.copy(), np.zeros(len(limits)), Status.INFEASIBLE)
    program = _program(components, matrix, limits - floors)
    multipliers, status = _solve(program, stop)
    bits = components.low + _within(program, _bits_at(program, multipliers))
    return _finished(components, matrix, limits, bits, multipliers, status)


def rate_bound(components: Components, rows: Floats, budgets: Floats, multipliers: Floats) -> float:
    """Σ_j min_b (c_j·β_j^(−b) + p_j·(b + o_j)) − λ·B with ``p = λ·A``: no bits within the budgets lose less, whatever λ ≥ 0."""
    price = multipliers @ rows
    bits = _stationary(components, price)
    charged = np.where(price > 0, price * (np.where(price > 0, bits, 0.0) + components.side_bits), 0.0)
    return math.fsum([*components.losses(bits), *charged, *(-multipliers * budgets)])


def _stationary(components: Components, price: Floats) -> Floats:
    """The bits at which one bit more saves its price, within the limits."""
    decay = np.log(components.beta)
    with np.errstate(divide="ignore", invalid="ignore"):
        free = (np.log(components.scale) + np.log(decay) - np.log(price)) / decay
    free = np.where(components.scale > 0, np.where(price > 0, free, np.inf), -np.inf)
    bits: Floats = np.clip(free, components.low, components.high)
    return bits


def _checked(components: Components, rows: ArrayLike, budgets: ArrayLike) -> tuple[Floats, Floats]:
    matrix, limits = np.asarray(rows, dtype=np.float64), np.asarray(budgets, dtype=np.float64)
    if limits.ndim != 1 or limits.shape[0] < 1 or matrix.shape != (limits.shape[0], components.count):
        msg = f"rows of shape {matrix.shape} and budgets of shape {limits.shape}; (R, {components.count}) and (R,) are needed"
        raise ProblemError(msg)
    if not (np.isfinite(matrix).all() and (matrix >= 0).all() and np.isfinite(limits).all()):
        msg = "rows must be finite and >= 0 and budgets finite: a bit cannot give something back"
        raise ProblemError(msg)
    endless = np.isinf(components.high) & (matrix.max(axis=0) == 0)
    if endless.any():
        msg = f"component {int(endless.argmax())} has no limit and no row charges it; give it a high"
        raise ProblemError(msg)
    return matrix, limits


def _program(components: Components, matrix: Floats, room: Floats) -> _Program:
    decay = np.log(components.beta)
    with np.errstate(divide="ignore"):
        gain = np.log(components.scale) + np.log(decay) - components.low * decay
    blocked = (matrix[room <= 0] > 0).any(axis=0) | (components.scale == 0)
    return _Program(matrix, room, gain, decay, np.where(blocked, 0.0, components.high - components.low))


def _bits_at(program: _Program, multipliers: Floats) -> Floats:
    """Bits above the fewest at these prices."""
    with np.errstate(divide="ignore", invalid="ignore"):
        free = np.where(program.width > 0, program.gain - np.log(multipliers @ program.rows), 0.0) / program.decay
    bits: Floats = np.clip(free, 0.0, program.width)
    return bits


def _within(program: _Program, bits: Floats) -> Floats:
    """The bits above the fewest, drawn together so far that every budget is kept."""
    taken = program.rows @ bits
    over = taken > program.room
    share = float((program.room[over] / taken[over]).min()) if over.any() else 1.0
    return bits * share


def _solve(program: _Program, deadline: Deadline) -> tuple[Floats, Status]:
    """Multipliers ``[R]``, and OPTIMAL as Clarabel says it; the caller looks at the gap."""
    binding = program.rows @ np.where(program.width > 0, program.width, 0.0) > program.room
    live, used = np.flatnonzero(program.width > 0), np.flatnonzero(binding & (program.room > 0))
    multipliers = np.zeros(program.room.shape[0])
    if live.size and used.size:
        rows, room = program.rows[np.ix_(used, live)], program.room[used]
        part = _Program(
            rows / room[:, None], np.ones(used.shape[0]), program.gain[live], program.decay[live], program.width[live]
        )
        level, first = _summed(part)
        prices, status = _solve_cone(part, level, deadline)
        multipliers[used] = _sharpened(part, first if prices is None else prices * math.exp(level)) / room
    else:
        status = Status.OPTIMAL
    return _price_blocked(program, multipliers), status


def _summed(part: _Program) -> tuple[float, Floats]:
    """Water-filling under the sum of all rows: the level that sets the scale, and its multipliers as a first answer."""
    total = part.rows.sum(axis=0)
    charged = total > 0
    scale = np.exp(part.gain[charged] - np.log(part.decay[charged]))
    filled = water_fill(
        Components.of(scale, weights=total[charged], beta=np.exp(part.decay[charged]), high=part.width[charged]),
        float(part.room.shape[0]),
    )
    level = filled.log_multiplier
    if not math.isfinite(level):
        marginal = part.gain[charged] - part.width[charged] * part.decay[charged] - np.log(total[charged])
        level = float(marginal.max())
    return level, np.full(part.room.shape[0], filled.multiplier)


def _solve_cone(part: _Program, level: float, deadline: Deadline) -> tuple[Floats | None, Status]:
    """Clarabel through cvxpy; multipliers in units of ``exp(level)``, or ``None`` when there is no answer.

    The variables are ``y = b·ln β``, and every exponential is counted in what its component pays at the level, so that all of
    them are near 1 at the optimum, whatever the scales of losses and sizes.
    """
    import cvxpy as cp

    pays = part.rows.sum(axis=0) / part.decay
    pays = np.where(pays > 0, pays, pays.max())
    y = cp.Variable(part.decay.shape[0], nonneg=True)
    losses = cp.multiply(pays, cp.exp(part.gain - np.log(part.decay) - level - np.log(pays) - y))
    limited = np.flatnonzero(np.isfinite(part.width))
    budgets = (part.rows / part.decay) @ y <= 1.0
    model = cp.Problem(cp.Minimize(cp.sum(losses)), [budgets, y[limited] <= (part.width * part.decay)[limited]])
    options = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-10, "tol_feas": 1e-10, "max_threads": 1}
    if deadline.remaining() < np.inf:
        options["time_limit"] = max(deadline.remaining(), 1e-6)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cvxpy warns of an inaccurate answer; here its status and the gap say so
            model.solve(solver=cp.CLARABEL, **options)
    except cp.error.SolverError:
        return None, Status.LIMIT if deadline.passed() else Status.FEASIBLE
    if budgets.dual_value is None:
        return None, Status.LIMIT if deadline.passed() else Status.FEASIBLE
    prices = np.maximum(np.nan_to_num(np.asarray(budgets.dual_value, dtype=np.float64)), 0.0)
    return prices, Status.OPTIMAL if model.status == cp.OPTIMAL else Status.LIMIT if deadline.passed() else Status.FEASIBLE


def _sharpened(part: _Program, multipliers: Floats) -> Floats:
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


def _swept(part: _Program, multipliers: Floats, rows: tuple[int, ...]) -> Floats:
    """The prices of some rows by sweeps over them and Newton's method; the others cost nothing."""
    chosen = list(rows)
    some = _Program(part.rows[chosen], part.room[chosen], part.gain, part.decay, part.width)
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


def _over(part: _Program, multipliers: Floats) -> Floats:
    """What the bits at the multipliers take over each budget, relative to its room."""
    over: Floats = part.rows @ _bits_at(part, multipliers) - 1.0
    return over


def _newton(part: _Program, multipliers: Floats) -> Floats:
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
        bits, price = _bits_at(part, multipliers), multipliers @ part.rows
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


def _row_price(part: _Program, multipliers: Floats, r: int) -> float:
    """The price at which one row is just kept beside the other prices, by bisection on its logarithm; 0 if it is kept free."""
    trial = multipliers.copy()

    def over(price: float) -> bool:
        trial[r] = price
        return float(part.rows[r] @ _bits_at(part, trial)) > 1.0

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


def _price_blocked(program: _Program, multipliers: Floats) -> Floats:
    """Prices of the rows without room, high enough that the components which use them stay at their fewest bits."""
    multipliers = multipliers.copy()
    for r in np.flatnonzero(program.room <= 0).tolist():
        uses = (program.rows[r] > 0) & np.isfinite(program.gain)
        wanted = np.exp(program.gain[uses]) / program.rows[r, uses]
        multipliers[r] = float(wanted.max(initial=0.0))
    return multipliers


def _finished(
    components: Components, matrix: Floats, limits: Floats, bits: Floats, multipliers: Floats, status: Status
) -> RatePlan:
    losses, sizes = components.losses(bits), matrix @ (bits + components.side_bits)
    loss = math.fsum(losses)
    bound = math.inf
    if status is not Status.INFEASIBLE:
        price = multipliers @ matrix
        best = _stationary(components, price)
        charged = np.where(price > 0, price * (bits - np.where(price > 0, best, 0.0)), 0.0)
        height = math.fsum([*(losses - components.losses(best) + charged), *(multipliers * (limits - sizes))])
        bound = loss - max(height, 0.0)
    gap = math.inf if status is Status.INFEASIBLE else relative_gap(loss, bound)
    proved = Status.OPTIMAL if gap <= PROVED else Status.FEASIBLE
    return RatePlan(
        status=status if status in (Status.INFEASIBLE, Status.LIMIT) and gap > PROVED else proved,
        bits=bits,
        loss=loss,
        multipliers=multipliers,
        sizes=sizes,
        floors=matrix @ (components.low + components.side_bits),
        lower_bound=bound,
        gap=gap,
    )
