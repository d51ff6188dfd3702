"""The convex relaxation of the multiple-choice knapsack as a cone program, solved by Clarabel.

    min Σ loss·x + κ·‖σ∘x‖₂   subject to   Σ_k x[i,k] = 1,   Σ sizes[r]·x ≤ budgets[r],   x ≥ 0

The matrices are handed to Clarabel itself: modelling 16,000 variables in cvxpy takes longer than solving them. Losses and
sizes are counted above the least of their class, losses in units of their typical size and each row in units of what its
budget leaves, because Clarabel's tolerances are absolute once the numbers are small.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.dominance import undominated
from solvers.problem import Problem, class_minima
from solvers.repair import priced
from solvers.solver import Deadline

TOO_LARGE = 1e6  # items that take more than so many times what a budget leaves stay out of the program and are priced out


class Outcome(StrEnum):
    """How the cone program ended."""

    SOLVED = "solved"
    INFEASIBLE = "infeasible"
    LIMIT = "limit"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True, eq=False)
class Relaxed:
    """The relaxation's answer in the units of the problem.

    Attributes:
        outcome: SOLVED within Clarabel's tolerances; INFEASIBLE with a certificate that was checked; LIMIT (time or iterations)
            and STUCK (numerical trouble) leave the last iterate.
        share: float64 ``[N, K]``, x; about 0 to 1.
        multipliers: float64 ``[R]``, the price of a unit of each budget, not negative.
        direction: float64 ``[N, K]``, u with ‖u‖₂ ≤ 1 from the dual of the cone: ``κ·u·(σ∘x) ≤ κ·‖σ∘x‖₂`` for every x.
    """

    outcome: Outcome
    share: Floats
    multipliers: Floats
    direction: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Scaled:
    """The program in its own units.

    Attributes:
        kept: bool ``[N, K]``, the cells that are variables.
        klass: int64 ``[M]``, class of each variable.
        loss: float64 ``[M]``, excess loss times 2^−``exponent``.
        spread: float64 ``[M]``, κ·σ in the same unit.
        sizes: float64 ``[R, M]``, excess sizes divided by ``room``.
        room: float64 ``[R]``, what each budget leaves above the smallest items, at least 1.
        exponent: power of two.
    """

    kept: NDArray[np.bool_]
    klass: Integers
    loss: Floats
    spread: Floats
    sizes: Floats
    room: Floats
    exponent: int


def solve_relaxation(problem: Problem, spread: Floats, deadline: Deadline) -> Relaxed:
    """Solve the relaxation; never raises for what the solver says.

    Args:
        problem: one whose budgets each allow the smallest items.
        spread: float64 ``[N, K]``, κ·σ, 0 where nothing is uncertain; not read at forbidden cells.
        deadline: Clarabel's time limit.
    """
    excess = problem.sizes - class_minima(problem)[:, :, None]
    capacity = problem.budgets - class_minima(problem).sum(axis=1)
    possible = problem.allowed() & (excess <= capacity[:, None, None]).all(axis=0)
    zeros = np.zeros(len(capacity))
    if not possible.any(axis=1).all():  # a class of which no item fits even beside the smallest of all others
        return Relaxed(Outcome.INFEASIBLE, np.zeros(problem.loss.shape), zeros, np.zeros(problem.loss.shape))
    scaled = _scale(problem, spread, excess, capacity)
    outcome, x, z = _run_clarabel(scaled, deadline)
    share, direction = np.zeros(problem.loss.shape), np.zeros(problem.loss.shape)
    share[scaled.kept] = x
    classes, rows, variables = problem.classes, len(capacity), x.shape[0]
    prices = np.where(scaled.sizes.any(axis=1), np.maximum(z[classes : classes + rows], 0.0), 0.0)
    if outcome is Outcome.INFEASIBLE:
        proved = _is_certificate(prices / scaled.room, excess, capacity, problem.allowed())
        return Relaxed(Outcome.INFEASIBLE if proved else Outcome.STUCK, share, zeros, direction)
    if z.shape[0] > classes + rows + variables:
        cone = z[classes + rows + variables :]
        direction[scaled.kept] = -cone[1:] / max(cone[0], float(np.linalg.norm(cone[1:])), 1e-300)
    multipliers = np.ldexp(prices / scaled.room, scaled.exponent)
    table = problem.loss + np.where(problem.allowed(), spread * direction, 0.0)
    multipliers = _price_out(table, excess, scaled.kept, multipliers, capacity)
    return Relaxed(outcome, share, drop_idle(table, excess, capacity, multipliers), direction)


def bound_at(table: Floats, excess: Integers, capacity: Integers, multipliers: Floats) -> float:
    """The Lagrangian bound Σ_i min_k(table + λ·excess) − λ·capacity; ``inf`` entries of the table are forbidden."""
    return float((table + priced(excess, multipliers)).min(axis=1).sum() - multipliers @ capacity)


def drop_idle(table: Floats, excess: Integers, capacity: Integers, multipliers: Floats) -> Floats:
    """Multipliers with those put to zero that are only the solver's tolerance: where the bound does not fall without them."""
    best, height = multipliers.copy(), bound_at(table, excess, capacity, multipliers)
    for r in range(multipliers.shape[0]):
        trial = best.copy()
        trial[r] = 0.0
        without = bound_at(table, excess, capacity, trial)
        if without >= height:
            best, height = trial, without
    return best


def _scale(problem: Problem, spread: Floats, excess: Integers, capacity: Integers) -> _Scaled:
    room = np.maximum(capacity, 1).astype(np.float64)
    reach = np.where(capacity > 0, TOO_LARGE * room, 0.0)
    kept = undominated(problem) if not spread.any() else problem.allowed()
    kept = kept & (excess <= reach[:, None, None]).all(axis=0)
    klass, item = np.nonzero(kept)
    least = np.where(kept, problem.loss, np.inf).min(axis=1)
    loss, noise = problem.loss[klass, item] - least[klass], spread[klass, item]
    typical = float(loss.mean()) + float(noise.mean()) if loss.size else 0.0
    exponent = int(np.frexp(typical)[1])
    sizes = excess[:, klass, item] / room[:, None]
    return _Scaled(kept, klass, np.ldexp(loss, -exponent), np.ldexp(noise, -exponent), sizes, room, exponent)


def _run_clarabel(scaled: _Scaled, deadline: Deadline) -> tuple[Outcome, Floats, Floats]:
    """Outcome, x ``[M]`` and the dual variables of all rows: classes, budgets, x ≥ 0, and the cone where there is one."""
    import clarabel
    from scipy import sparse

    variables, classes, rows = scaled.klass.shape[0], int(scaled.klass[-1]) + 1, scaled.room.shape[0]
    one_each = sparse.csc_array((np.ones(variables), (scaled.klass, np.arange(variables))), shape=(classes, variables))
    blocks = [[one_each], [sparse.csc_array(scaled.sizes)], [-sparse.eye_array(variables)]]
    capacity = np.where(scaled.sizes.any(axis=1), 1.0, 0.0)
    right, objective = [np.ones(classes), capacity, np.zeros(variables)], scaled.loss
    cones = [clarabel.ZeroConeT(classes), clarabel.NonnegativeConeT(rows + variables)]
    if scaled.spread.any():
        blocks = [[block[0], None] for block in blocks]
        blocks += [[None, sparse.csc_array([[-1.0]])], [sparse.diags_array(-scaled.spread), None]]
        right.append(np.zeros(1 + variables))
        cones.append(clarabel.SecondOrderConeT(1 + variables))
        objective = np.append(objective, 1.0)
    rows_of_all = sparse.csc_matrix(sparse.block_array(blocks, format="csc"))
    quadratic = sparse.csc_matrix((objective.shape[0], objective.shape[0]))
    result = clarabel.DefaultSolver(
        quadratic, objective, rows_of_all, np.concatenate(right), cones, _settings(clarabel.DefaultSettings(), deadline)
    ).solve()
    x, z = np.nan_to_num(np.array(result.x)[:variables]), np.nan_to_num(np.array(result.z))
    return _outcome(str(result.status)), x, z


def _settings(settings: Any, deadline: Deadline) -> Any:
    """Quiet, single-threaded so that a run repeats itself, and relative in its gap."""
    values = {"verbose": False, "max_threads": 1, "tol_gap_abs": 1e-12, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}
    for name, value in values.items():
        setattr(settings, name, value)
    if deadline.remaining() < np.inf:
        settings.time_limit = max(deadline.remaining(), 1e-6)
    return settings


def _outcome(status: str) -> Outcome:
    if status in ("Solved", "AlmostSolved"):
        return Outcome.SOLVED
    if status in ("PrimalInfeasible", "AlmostPrimalInfeasible"):
        return Outcome.INFEASIBLE
    return Outcome.LIMIT if status in ("MaxTime", "MaxIterations") else Outcome.STUCK


def _is_certificate(prices: Floats, excess: Integers, capacity: Integers, allowed: NDArray[np.bool_]) -> bool:
    """Even the cheapest items cost more at these prices than the budgets are worth: no choice keeps them all (Farkas)."""
    least = np.where(allowed, priced(excess, prices), np.inf).min(axis=1).sum()
    worth = float(prices @ capacity)
    return bool(least > worth + 1e-9 * (abs(worth) + least))


def _price_out(table: Floats, excess: Integers, kept: NDArray[np.bool_], multipliers: Floats, capacity: Integers) -> Floats:
    """Raise the price of each row until the items that its budget left out of the program are not the cheapest of their class."""
    multipliers = multipliers.copy()
    for r in range(multipliers.shape[0]):
        reach = TOO_LARGE * float(capacity[r])
        value = table + priced(excess, multipliers)
        best = np.where(kept, value, np.inf).argmin(axis=1)
        rows = np.arange(best.shape[0])
        ahead = value[rows, best][:, None] - value
        further = (excess[r] - excess[r, rows, best][:, None]).astype(np.float64)
        out = np.isfinite(table) & (excess[r] > reach) & (ahead > 0) & (further > 0)
        multipliers[r] += float(np.where(out, ahead / np.where(out, further, 1.0), 0.0).max(initial=0.0)) * (1 + 1e-12)
    return multipliers
