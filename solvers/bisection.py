"""The smallest plan whose measured loss stays under a limit, out of a family that only grows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from solvers.arrays import Integers
from solvers.driver import solve
from solvers.errors import MeasurementError, SettingError
from solvers.problem import Problem
from solvers.solver import AbstractSolver

Measure = Callable[[Integers], float | tuple[float, float]]
"""``measure(choice)``: int64 ``[N]`` to the loss, or to the loss and its standard error."""


class BisectionStatus(StrEnum):
    """How a bisection ended."""

    FOUND = "found"
    ALL_FEASIBLE = "all feasible"
    NONE_FEASIBLE = "none feasible"
    LIMIT = "limit"

    @property
    def advice(self) -> str:
        """What to do with such a result."""
        return _ADVICE[self]


_ADVICE = {
    BisectionStatus.FOUND: "Use it: it keeps the limit, and the smaller plans beside it that were measured do not.",
    BisectionStatus.ALL_FEASIBLE: "The smallest plan of the family keeps the limit; offer smaller ones, or lower the limit.",
    BisectionStatus.NONE_FEASIBLE: "No plan that was measured keeps the limit; raise it, or offer larger plans.",
    BisectionStatus.LIMIT: "The evaluations were used up; use what was found, if anything, or allow more.",
}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One measurement.

    Attributes:
        position: t, where the plan stands in its family.
        loss: as measured; NaN never keeps a limit.
        standard_error: 0 where none was given.
        feasible: loss + margin·standard error ≤ limit, and both are finite.
    """

    position: int
    loss: float
    standard_error: float
    feasible: bool


@dataclass(frozen=True, slots=True, eq=False)
class BisectionResult:
    """What a bisection found.

    Attributes:
        status: how it ended; ``status.advice`` says what to do.
        position: the smallest feasible position measured; ``None`` when there is none.
        choice: int64 ``[N]``, the plan there; ``None`` when there is none.
        evaluation: its measurement.
        largest_infeasible: the largest infeasible position below it, or of all when nothing is feasible: with ``position`` the
            bracket.
        evaluations: every measurement, in order.
        best_loss: the least finite loss seen; ``inf`` when none was finite.
    """

    status: BisectionStatus
    position: int | None
    choice: Integers | None
    evaluation: Evaluation | None
    largest_infeasible: int | None
    evaluations: tuple[Evaluation, ...]
    best_loss: float


@dataclass(frozen=True, slots=True)
class Bisection:
    """The smallest feasible plan of a family whose sizes do not fall with t.

    ⌈log₂(n + 1)⌉ measurements find it where the measured loss falls with t. Measured losses do not always (EvoPress, table
    1), so the plans just below are measured too, and again below whatever turns out feasible there: what is handed back is
    never larger than any feasible plan that was measured. The search of augmented Hessians (arXiv 2306.04879).

    Attributes:
        limit: the loss that a plan may have, in its unit.
        verify: smaller plans that are measured below the one found, before it is believed.
        margin: standard errors that are added to a measured loss before it is compared.
        evaluations: measurements, at most; ``None`` for no limit.
    """

    limit: float
    verify: int = 2
    margin: float = 0.0
    evaluations: int | None = None

    def __post_init__(self) -> None:
        if math.isnan(self.limit):
            msg = "the limit is NaN; give the loss that a plan may have"
            raise SettingError(msg)
        if not 0 <= self.margin < math.inf:
            msg = f"margin is {self.margin}; give zero or more standard errors"
            raise SettingError(msg)
        if not self.verify >= 0:
            msg = f"verify is {self.verify}; give zero or more plans"
            raise SettingError(msg)
        if self.evaluations is not None and not self.evaluations >= 1:
            msg = f"evaluations is {self.evaluations}; give 1 at least, or None for no limit"
            raise SettingError(msg)

    def search(
        self, family: Sequence[Integers] | Callable[[int], Integers], measure: Measure, *, count: int | None = None
    ) -> BisectionResult:
        """Bisect, then look below. Plans that are equal are measured once, wherever they stand.

        Args:
            family: the plans, or a function of t; sizes must not fall with t.
            measure: the loss of a plan.
            count: n, how many plans a function gives; a sequence brings its own.

        Raises:
            SettingError: a function without ``count``, or no plan at all.
            MeasurementError: the measurement gave no number.
        """
        plan_at, plans = _as_function(family, count)
        return _walk(_Measured(self, measure), plan_at, plans)


def solved_family(problem: Problem, solver: AbstractSolver, budgets: Sequence[int]) -> Callable[[int], Integers]:
    """The plans of rising budgets as a family: t to the choice of ``solver`` with the first budget ``budgets[t]``.

    Raises:
        SettingError: budgets that fall, or (when asked for t) one that the solver finds no choice for.
    """
    if list(budgets) != sorted(budgets):
        msg = "the budgets of a family must not fall; sort them"
        raise SettingError(msg)

    def choose(t: int) -> Integers:
        limits = problem.budgets.copy()
        limits[0] = budgets[t]
        solution = solve(replace(problem, budgets=limits), solver)
        if not solution.choice.size and problem.classes:
            msg = f"no choice for budget {budgets[t]}: {solution.reason}; leave it out"
            raise SettingError(msg)
        return solution.choice

    return choose


@dataclass(frozen=True, slots=True, eq=False)
class LoweringResult:
    """What ``lower_least_sensitive`` found.

    Attributes:
        status: FOUND, NONE_FEASIBLE when not even the start keeps the limit, or LIMIT.
        choice: int64 ``[N]``, the last plan that keeps the limit; ``None`` when there is none.
        lowered: for each level how many classes took it.
        evaluations: every measurement, in order; the position counts the classes left unlowered in its level.
    """

    status: BisectionStatus
    choice: Integers | None
    lowered: tuple[int, ...]
    evaluations: tuple[Evaluation, ...]


def lower_least_sensitive(
    bisection: Bisection, start: Integers, order: Sequence[int], levels: Sequence[Integers], measure: Measure
) -> LoweringResult:
    """For each level, from the lowest up, lower as many of the least sensitive classes as the limit allows.

    The reconstruction of augmented Hessians' search (arXiv 2306.04879): the largest k such that lowering the first k classes
    keeps the limit is found by bisection; these are frozen, and the rest goes on with the next level. ``O(levels·log N)``
    measurements, none of them twice.

    Args:
        bisection: limit, margin, verification, and evaluations of all levels together.
        start: int64 ``[N]``, the plan of highest precision.
        order: classes from the least to the most sensitive; those that are left out keep their item.
        levels: int64 ``[N]`` each, the item that every class takes at a level; the lowest level first.
        measure: the loss of a plan.

    Raises:
        SettingError: an order with repeats, or levels of another length.
        MeasurementError: the measurement gave no number.
    """
    rest = _checked_order(start, order, levels)
    measured = _Measured(bisection, measure)
    plan, status = np.array(start, dtype=np.int64), BisectionStatus.FOUND
    lowered: list[int] = []
    for level in levels:

        def plan_at(t: int, plan: Integers = plan, level: Integers = level, rest: Integers = rest) -> Integers:
            first = rest[: rest.shape[0] - t]
            changed = plan.copy()
            changed[first] = level[first]
            return changed

        found = _walk(measured, plan_at, rest.shape[0] + 1)
        if found.position is None or found.choice is None:
            status = found.status
            break
        lowered.append(rest.shape[0] - found.position)
        plan, rest = found.choice, rest[lowered[-1] :]
        if found.status is BisectionStatus.LIMIT:
            status = found.status
            break
    choice = plan if lowered else None
    padded = (*lowered, *([0] * (len(levels) - len(lowered))))
    return LoweringResult(status, choice, padded, tuple(measured.evaluations))


def _as_function(
    family: Sequence[Integers] | Callable[[int], Integers], count: int | None
) -> tuple[Callable[[int], Integers], int]:
    if callable(family):
        if count is None or count < 1:
            msg = f"count is {count}; say how many plans the function gives, 1 at least"
            raise SettingError(msg)
        return family, count
    if not len(family):
        msg = "the family has no plan; give one at least"
        raise SettingError(msg)
    return family.__getitem__, len(family)


def _checked_order(start: Integers, order: Sequence[int], levels: Sequence[Integers]) -> Integers:
    classes = np.asarray(order, dtype=np.int64)
    if np.unique(classes).shape[0] != classes.shape[0] or (classes.size and not 0 <= classes.min() <= classes.max() < len(start)):
        msg = f"the order must name each class of 0..{len(start) - 1} once at most"
        raise SettingError(msg)
    wrong = [number for number, level in enumerate(levels) if np.shape(level) != np.shape(start)]
    if wrong:
        msg = f"level {wrong[0]} has shape {np.shape(levels[wrong[0]])}; give one item for each of the {len(start)} classes"
        raise SettingError(msg)
    return classes


@dataclass(slots=True)
class _Measured:
    """Measures plans, each once."""

    bisection: Bisection
    measure: Measure
    evaluations: list[Evaluation] = field(default_factory=list)
    _known: dict[bytes, Evaluation] = field(default_factory=dict)

    def at(self, position: int, plan: Integers) -> tuple[Evaluation | None, bool]:
        """The evaluation of a plan, and whether it was measured just now; ``None`` when no measurement is left."""
        key = np.ascontiguousarray(plan, dtype=np.int64).tobytes()
        if key in self._known:
            return replace(self._known[key], position=position), False
        most = self.bisection.evaluations
        if most is not None and len(self.evaluations) >= most:
            return None, False
        evaluation = self._evaluate(position, plan)
        self._known[key] = evaluation
        self.evaluations.append(evaluation)
        return evaluation, True

    def _evaluate(self, position: int, plan: Integers) -> Evaluation:
        value = self.measure(plan)
        try:
            loss, error = map(float, value) if isinstance(value, tuple) else (float(value), 0.0)
        except (TypeError, ValueError) as problem:
            msg = f"the measurement of plan {position} gave {value!r}; return the loss, or (loss, standard error)"
            raise MeasurementError(msg) from problem
        if error < 0:
            msg = f"the measurement of plan {position} has the standard error {error}; it cannot be negative"
            raise MeasurementError(msg)
        finite = math.isfinite(loss) and math.isfinite(error)
        feasible = finite and loss + self.bisection.margin * error <= self.bisection.limit
        return Evaluation(position, loss, error, feasible)


def _walk(measured: _Measured, plan_at: Callable[[int], Integers], plans: int) -> BisectionResult:
    walk = _Walk(measured, plan_at, found=plans)
    before = len(measured.evaluations)
    finished = walk.bisect() and walk.look_below(measured.bisection.verify)
    return walk.result(plans, measured.evaluations[before:], finished=finished)


@dataclass(slots=True)
class _Walk:
    """One search: the smallest feasible position so far (the number of plans: none) and everything seen."""

    measured: _Measured
    plan_at: Callable[[int], Integers]
    found: int
    seen: dict[int, Evaluation] = field(default_factory=dict)

    def bisect(self) -> bool:
        """Halve the bracket until it is closed; ``False`` when the measurements ran out."""
        low = -1
        while self.found - low > 1:
            middle = (low + self.found) // 2
            if self._look(middle) is None:
                return False
            if self.found > middle:
                low = middle
        return True

    def look_below(self, verify: int) -> bool:
        """Measure the next ``verify`` plans below, and again below each that is feasible; ``False`` when measurements ran out."""
        left, t = verify, self.found - 1
        while left > 0 and t >= 0:
            if t not in self.seen:
                measured = self._look(t)
                if measured is None:
                    return False
                left = verify if self.found == t else left - measured
            t -= 1
        return True

    def _look(self, t: int) -> bool | None:
        """See a plan: whether it had to be measured, or ``None`` when that was not possible."""
        evaluation, fresh = self.measured.at(t, self.plan_at(t))
        if evaluation is None:
            return None
        self.seen[t] = evaluation
        if evaluation.feasible:
            self.found = min(self.found, t)
        return fresh

    def result(self, plans: int, evaluations: list[Evaluation], *, finished: bool) -> BisectionResult:
        """What was found."""
        exists = self.found < plans
        infeasible = [t for t, evaluation in self.seen.items() if not evaluation.feasible and t < self.found]
        finite = [evaluation.loss for evaluation in self.seen.values() if math.isfinite(evaluation.loss)]
        return BisectionResult(
            status=_status(self.found, plans, finished=finished),
            position=self.found if exists else None,
            choice=np.array(self.plan_at(self.found), dtype=np.int64) if exists else None,
            evaluation=self.seen[self.found] if exists else None,
            largest_infeasible=max(infeasible, default=None),
            evaluations=tuple(evaluations),
            best_loss=min(finite, default=math.inf),
        )


def _status(found: int, plans: int, *, finished: bool) -> BisectionStatus:
    if found == 0:
        return BisectionStatus.ALL_FEASIBLE
    if not finished:
        return BisectionStatus.LIMIT
    return BisectionStatus.FOUND if found < plans else BisectionStatus.NONE_FEASIBLE
