"""Continuous bits under several budgets: water-filling's problem with more than one row, as QBitOpt poses it.

    min Σ_j c_j·β_j^(−b_j)   subject to   Σ_j A[r,j]·(b_j + o_j) ≤ B_r,   lo_j ≤ b_j ≤ hi_j

An exponential-cone program, modelled in cvxpy and solved by Clarabel (QBitOpt, arXiv 2307.04535, solves such a program for
every few hundred training steps). What it returns is not believed: the bits are moved within the budgets, and the bound is
recomputed from the multipliers, at which every component has a closed form.
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import Floats
from solvers.driver import relative_gap
from solvers.errors import ProblemError
from solvers.rates.components import Components
from solvers.rates.prices import RateProgram, bits_at, sharpen_prices
from solvers.rates.water_filling import water_fill
from solvers.solution import Status
from solvers.solver import Deadline

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
    bits = components.low + _within(program, bits_at(program, multipliers))
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


def _program(components: Components, matrix: Floats, room: Floats) -> RateProgram:
    decay = np.log(components.beta)
    with np.errstate(divide="ignore"):
        gain = np.log(components.scale) + np.log(decay) - components.low * decay
    blocked = (matrix[room <= 0] > 0).any(axis=0) | (components.scale == 0)
    return RateProgram(matrix, room, gain, decay, np.where(blocked, 0.0, components.high - components.low))


def _within(program: RateProgram, bits: Floats) -> Floats:
    """The bits above the fewest, drawn together so far that every budget is kept."""
    taken = program.rows @ bits
    over = taken > program.room
    share = float((program.room[over] / taken[over]).min()) if over.any() else 1.0
    return bits * share


def _solve(program: RateProgram, deadline: Deadline) -> tuple[Floats, Status]:
    """Multipliers ``[R]``, and OPTIMAL as Clarabel says it; the caller looks at the gap."""
    binding = program.rows @ np.where(program.width > 0, program.width, 0.0) > program.room
    live, used = np.flatnonzero(program.width > 0), np.flatnonzero(binding & (program.room > 0))
    multipliers = np.zeros(program.room.shape[0])
    if live.size and used.size:
        rows, room = program.rows[np.ix_(used, live)], program.room[used]
        part = RateProgram(
            rows / room[:, None], np.ones(used.shape[0]), program.gain[live], program.decay[live], program.width[live]
        )
        level, first = _summed(part)
        prices, status = _solve_cone(part, level, deadline)
        multipliers[used] = sharpen_prices(part, first if prices is None else prices * math.exp(level)) / room
    else:
        status = Status.OPTIMAL
    return _price_blocked(program, multipliers), status


def _summed(part: RateProgram) -> tuple[float, Floats]:
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


def _solve_cone(part: RateProgram, level: float, deadline: Deadline) -> tuple[Floats | None, Status]:
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


def _price_blocked(program: RateProgram, multipliers: Floats) -> Floats:
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
