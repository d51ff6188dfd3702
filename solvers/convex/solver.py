"""The convex relaxation under any number of budgets, plain and robust, with its dual values and a rounded plan."""

import math
from dataclasses import dataclass, field

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.convex.cones import Outcome, Relaxed, solve_relaxation
from solvers.convex.rounding import round_shares
from solvers.driver import find_unsupported, relative_gap
from solvers.errors import SettingError, UnsupportedProblemError
from solvers.problem import Problem, total_loss, total_sizes
from solvers.repair import priced
from solvers.solution import Status
from solvers.solver import AbstractSolver, Answer, Deadline

ROUNDS = 8  # of rounding with the spread linearised anew
FLAT = 1e-12  # of the largest spread: a plan with less is taken to have none


@dataclass(frozen=True, slots=True, eq=False)
class Convex(AbstractSolver):
    """LP relaxation under any number of budgets by Clarabel's interior point, rounded; with ``kappa`` a cone program.

    Its multipliers are the prices of all budgets together, and the bound that the driver recomputes from them is the optimum
    of the LP. The choice is the rounded optimum, repaired and improved in exact integers: feasible, not proved best. Prefer
    ``Mckp()`` with one or two budgets and ``Ilp()`` where an optimum under several is needed; this one is for prices and bounds
    under many budgets, and for plans that should not hang on noisy cells.

    With ``kappa > 0`` the choice is that of ``robust_plan``, whose own bound is for loss and spread together; the driver's
    bound stays one for the loss alone.

    Attributes:
        standard_errors: σ ≥ 0 of the losses, float64 ``[N, K]``; needed with ``kappa``.
        kappa: κ ≥ 0, how many standard errors of the total are added to the loss.
    """

    standard_errors: Floats | None = field(default=None, repr=False)
    kappa: float = 0.0

    def __post_init__(self) -> None:
        _check_kappa(self.kappa)
        if self.kappa > 0 and self.standard_errors is None:
            msg = f"kappa is {self.kappa} but there are no standard_errors; give them as (N, K), or kappa=0"
            raise SettingError(msg)

    def refusal(self, problem: Problem) -> str | None:
        """Refuses standard errors of another shape."""
        if self.standard_errors is not None and np.shape(self.standard_errors) != problem.loss.shape:
            return f"standard_errors have shape {np.shape(self.standard_errors)}; the losses have {problem.loss.shape}"
        return None

    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        """The rounded plan and the dual values of the budgets."""
        errors = np.zeros(problem.loss.shape) if self.standard_errors is None else self.standard_errors
        spread = _spread(problem, errors, self.kappa)
        if not spread.any():
            freely = _least_losses(problem)
            if (total_sizes(problem, freely) <= problem.budgets).all():
                return Answer(Status.FEASIBLE, freely)
        relaxed = solve_relaxation(problem, spread, deadline)
        if relaxed.outcome is Outcome.INFEASIBLE:
            return Answer(Status.INFEASIBLE, None, reason=INFEASIBLE)
        choice = _rounded(problem, spread, relaxed, deadline)
        if choice is None:
            return Answer(Status.FAILED, None, reason=NOT_ROUNDED)
        return Answer(Status.FEASIBLE if relaxed.outcome is Outcome.SOLVED else Status.LIMIT, choice, relaxed.multipliers)


INFEASIBLE = "no choice keeps all budgets together, not even in fractions; raise one of them"
NOT_ROUNDED = "the relaxation is feasible but no whole plan was found; use an integer-programming solver, or raise a budget"


@dataclass(frozen=True, slots=True, eq=False)
class RobustPlan:
    """A plan judged by ``loss + κ·sqrt(Σ σ²)``, and the bound on what any plan can reach.

    Attributes:
        status: FEASIBLE, OPTIMAL when the bound is reached, LIMIT when Clarabel stopped early, INFEASIBLE or FAILED.
        choice: int64 ``[N]``; empty without a plan.
        objective: Σ loss + κ·(Σ σ²)^½ of the choice; ``inf`` without one.
        loss: Σ loss of the choice.
        spread: (Σ σ²)^½ of the choice, the standard error of its loss when the cells are independent.
        sizes: int64 ``[R]``.
        lower_bound: no plan within the budgets has a smaller objective. Anybody can recompute it:
            ``(loss + κ·σ·u + tensordot(λ, sizes, 1)).min(axis=1).sum() − λ·budgets`` with u the ``direction``.
        gap: (objective − lower_bound)/|objective|.
        multipliers: float64 ``[R]``, λ, the price of a unit of each budget.
        direction: float64 ``[N, K]``, u with ‖u‖₂ ≤ 1.
        reason: one sentence without a plan, else empty.
    """

    status: Status
    choice: Integers
    objective: float
    loss: float
    spread: float
    sizes: Integers
    lower_bound: float
    gap: float
    multipliers: Floats
    direction: Floats
    reason: str = ""


def robust_plan(problem: Problem, standard_errors: Floats, kappa: float, *, deadline: float | None = None) -> RobustPlan:
    """Least ``Σ loss + κ·‖σ∘x‖₂`` under every budget: a second-order cone program, rounded.

    The relaxation bounds the objective. The plan comes from rounding with ``κ·sqrt(V) = min_θ κ·(V/θ + θ)/2``: for a fixed
    θ the objective is additive, and θ follows the plan until nothing improves.

    Args:
        problem: losses, sizes and budgets, without side rules or an interaction.
        standard_errors: σ ≥ 0, float64 ``[N, K]``, independent from cell to cell; not read where the loss is ``inf``.
        kappa: κ ≥ 0; 0 gives the plain relaxation.
        deadline: wall seconds for Clarabel; the rounding follows in any case.

    Raises:
        SettingError: standard errors or a κ that are none, or a negative deadline.
        UnsupportedProblemError: side rules or an interaction.
    """
    refusal = find_unsupported(problem, Convex())
    if refusal is not None:
        raise UnsupportedProblemError(refusal)
    _check_kappa(kappa)
    stop = Deadline.after(deadline)
    errors = np.asarray(standard_errors, dtype=np.float64)
    spread = _spread(problem, errors, kappa)
    if (problem.smallest_sizes() > problem.budgets).any():
        return _no_plan(problem, Status.INFEASIBLE, "a budget is below the sum of the smallest allowed items")
    if problem.classes == 0:
        return _judged(problem, errors, spread, np.empty(0, dtype=np.int64), _no_classes(problem))
    relaxed = solve_relaxation(problem, spread, stop)
    if relaxed.outcome is Outcome.INFEASIBLE:
        return _no_plan(problem, Status.INFEASIBLE, INFEASIBLE)
    choice = _rounded(problem, spread, relaxed, stop)
    if choice is None:
        return _no_plan(problem, Status.FAILED, NOT_ROUNDED)
    return _judged(problem, errors, spread, choice, relaxed)


def _check_kappa(kappa: float) -> None:
    if not 0 <= kappa < np.inf:
        msg = f"kappa is {kappa}; give a finite number of standard errors, zero or more"
        raise SettingError(msg)


def _spread(problem: Problem, errors: Floats, kappa: float) -> Floats:
    """κ·σ, 0 at forbidden cells."""
    if errors.shape != problem.loss.shape:
        msg = f"standard_errors have shape {errors.shape}; the losses have {problem.loss.shape}"
        raise SettingError(msg)
    used = np.where(problem.allowed(), errors, 0.0)
    if not (np.isfinite(used).all() and (used >= 0).all()):
        msg = "standard_errors must be finite and >= 0 wherever the loss is; forbid cells that were not measured"
        raise SettingError(msg)
    return np.asarray(kappa * used)


def _least_losses(problem: Problem) -> Integers:
    """The least loss of each class, of equal ones what takes least of the budgets."""
    taken = sum(size / max(int(budget), 1) for size, budget in zip(problem.sizes, problem.budgets, strict=True))
    least: Integers = np.where(problem.loss == problem.loss.min(axis=1, keepdims=True), taken, np.inf).argmin(axis=1)
    return least


def _rounded(problem: Problem, spread: Floats, relaxed: Relaxed, deadline: Deadline) -> Integers | None:
    """The best of the plans rounded with the spread linearised at the relaxation and then at each plan."""
    if not spread.any():
        return round_shares(problem, relaxed.share, relaxed.multipliers, deadline)
    largest = float(spread.max())
    theta = largest * math.sqrt(float(((spread / largest) ** 2 * np.maximum(relaxed.share, 0.0)).sum()))
    share, best, reached = relaxed.share, None, math.inf
    for _ in range(ROUNDS):
        bent = spread * (spread / (2 * theta)) if theta > FLAT * largest else np.zeros(spread.shape)
        table = Problem(problem.loss + bent, problem.sizes, problem.budgets)
        choice = round_shares(table, share, relaxed.multipliers, deadline)
        if choice is None:
            break
        objective, theta = _objective(problem, spread, choice)
        if objective >= reached:
            break
        best, reached = choice, objective
        share = np.eye(problem.items)[choice]
        if deadline.passed():
            break
    return best


def _objective(problem: Problem, spread: Floats, choice: Integers) -> tuple[float, float]:
    """Loss and spread together, and the spread κ·(Σσ²)^½ alone."""
    own = math.hypot(*spread[np.arange(problem.classes), choice].tolist())
    return total_loss(problem, choice) + own, own


def _judged(problem: Problem, errors: Floats, spread: Floats, choice: Integers, relaxed: Relaxed) -> RobustPlan:
    objective, _ = _objective(problem, spread, choice)
    bound = min(_bound(problem, spread, choice, relaxed), objective)
    status = Status.FEASIBLE if relaxed.outcome is Outcome.SOLVED else Status.LIMIT
    return RobustPlan(
        status=Status.OPTIMAL if bound >= objective else status,
        choice=choice,
        objective=objective,
        loss=total_loss(problem, choice),
        spread=math.hypot(*errors[np.arange(problem.classes), choice].tolist()),
        sizes=total_sizes(problem, choice),
        lower_bound=bound,
        gap=relative_gap(objective, bound),
        multipliers=relaxed.multipliers,
        direction=relaxed.direction,
    )


def _bound(problem: Problem, spread: Floats, choice: Integers, relaxed: Relaxed) -> float:
    """The bound of the multipliers and the direction; sizes are counted from those of the choice, so that nothing cancels."""
    chosen = problem.sizes[:, np.arange(problem.classes), choice]
    value = problem.loss + spread * relaxed.direction + priced(problem.sizes - chosen[:, :, None], relaxed.multipliers)
    slack = problem.budgets - total_sizes(problem, choice)
    return math.fsum([*value.min(axis=1, initial=np.inf), *(-relaxed.multipliers * slack)])


def _no_classes(problem: Problem) -> Relaxed:
    empty = np.zeros(problem.loss.shape)
    return Relaxed(Outcome.SOLVED, empty, np.zeros(len(problem.budgets)), empty)


def _no_plan(problem: Problem, status: Status, reason: str) -> RobustPlan:
    rows = len(problem.budgets)
    bound = math.inf if status is Status.INFEASIBLE else -math.inf
    return RobustPlan(
        status=status,
        choice=np.empty(0, dtype=np.int64),
        objective=math.inf,
        loss=math.inf,
        spread=math.inf,
        sizes=np.zeros(rows, dtype=np.int64),
        lower_bound=bound,
        gap=math.inf,
        multipliers=np.zeros(rows),
        direction=np.zeros(problem.loss.shape),
        reason=reason,
    )
