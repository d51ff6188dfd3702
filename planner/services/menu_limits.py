"""When the menu, not the model, is the limit: what formats outside of it would do under the same budget."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

import solvers
from planner.build import Classes, GroupCurves
from planner.errors import PlannerError
from planner.runtimes import get_runtime
from planner.schemas.caveats import MenuLimit, OutsideFormat, Reason, WiderPlan
from planner.schemas.plans import PlanRequest
from planner.services.caveats import loss_of
from planner.services.outside_formats import OutsideFormats
from planner.services.posing import Posed, pose_counts
from planner.solving import Solved, rows_of, solve_plan
from planner.solving.caution import spread_of
from sensitivity.formats.candidate import CandidateFormat

WORTH_SAYING: Final = 0.01
"""Of the plan's objective: a wider menu is nearly always a little better."""

MOST_UNIFORMS: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """A question and its answer.

    Attributes:
        request: what was asked.
        outside: what lies outside of its menu.
        solved: its answer.
        stop: limit of everything here.
    """

    request: PlanRequest
    outside: OutsideFormats
    solved: Solved
    stop: solvers.Deadline

    @property
    def posed(self) -> Posed:
        """The question with its menu."""
        return self.outside.posed

    @property
    def parameters(self) -> int:
        """Weights of the planned layers."""
        return self.outside.selected.footprint.parameters

    @property
    def loss(self) -> float:
        """Expected loss of the plan."""
        return loss_of(self.posed.expected, self.solved.proved.choice)

    def objective(self, curves: GroupCurves, choice: NDArray[np.int64]) -> float:
        """What assignments are compared by: expected loss, and the request's caution."""
        return loss_of(curves, choice) + self.request.caution * spread_of(curves.standard_error, choice)

    @property
    def own(self) -> float:
        """Objective of the plan."""
        return self.objective(self.posed.expected, self.solved.proved.choice)

    def bits_a_weight(self, bits: int) -> float:
        return bits / self.parameters


def menu_limit(request: PlanRequest, outside: OutsideFormats, solved: Solved, stop: solvers.Deadline) -> MenuLimit | None:
    """What the plan misses by its menu, or ``None`` if that is nothing that the curves can tell.

    Everything is compared by expected losses (and the request's caution), within the plan's budget and counts, under its
    pins, floors and ceilings:

    - one format everywhere, which the request leaves out, the runtime refuses, or nobody measured (then between measured
      neighbours): said when it beats the plan at all;
    - the plan with every measured format that the runtime takes: said when it is better by more than its standard error and
      by a hundredth.
    """
    if not outside.posed.classes.groups:
        return None
    answer = _Answer(request, outside, solved, stop)
    uniforms = _uniforms(answer)
    wider = _wider(answer)
    if not uniforms and wider is None:
        return None
    return MenuLimit(loss=answer.loss, uniforms=uniforms, wider=wider)


def _uniforms(answer: _Answer) -> list[OutsideFormat]:
    outside, own = answer.outside, answer.own
    promising = [
        column
        for column, fmt, least in outside.candidates
        if least < own and fmt.num_bits * answer.parameters <= answer.solved.budget_bits  # its bare elements fit
    ]
    if not promising:
        return []
    free, losses = outside.free, outside.losses
    rows = rows_of(pose_counts(answer.request.counts, free))
    found = []
    for column in promising:
        reason = outside.reason(column)
        if reason is None or any(row.table[:, column].sum() > row.limit for row in rows):
            continue
        bits = int((free if reason == "runtime" else outside.here).sizes[:, column].sum())
        choice = np.full(len(free.groups), column, dtype=np.int64)
        if bits <= answer.solved.budget_bits and answer.objective(losses, choice) < own:
            found.append(_outside(answer, choice, fmt=free.formats[column], reason=reason, bits=bits))
    return sorted(found, key=lambda one: one.loss)[:MOST_UNIFORMS]


def _outside(answer: _Answer, choice: NDArray[np.int64], *, fmt: CandidateFormat, reason: Reason, bits: int) -> OutsideFormat:
    losses = answer.outside.losses
    loss = loss_of(losses, choice)
    said = f"{fmt.name} everywhere is expected to lose {loss:.4g} within the budget, this plan {answer.loss:.4g}"
    runtime = get_runtime(answer.request.runtime)
    if reason == "runtime":
        why = next(text for layer in answer.outside.selected.layers if (text := runtime.refusal(fmt, layer)) is not None)
        advice = f"it is not legal in runtime {runtime.name} ({why}): serve with another runtime"
    elif reason == "menu":
        advice = "it is not in your menu: add it to formats (and menus)"
    else:
        advice = f"it is not measured, but lies between measured formats: measure it (bitplan measure --formats {fmt.name})"
    return OutsideFormat(
        format=fmt.name,
        reason=reason,
        loss=loss,
        standard_error=spread_of(losses.standard_error, choice),
        effective_bits=answer.bits_a_weight(bits),
        advice=f"{said}; {advice}",
    )


def _wider(answer: _Answer) -> WiderPlan | None:
    menu = None if answer.stop.passed() else answer.outside.wider
    if menu is None:
        return None
    curves, request = menu.curves, answer.request
    try:
        solved = solve_plan(
            menu.offered,
            curves,
            answer.solved.budget_bits,
            deadline=answer.stop.remaining(),
            rows=rows_of(pose_counts(request.counts, menu.legal)),
            caution=request.caution,
        )
    except PlannerError:  # none was found in time: the plan itself is one, so there is one
        return None
    choice, plan = solved.proved.choice, answer.solved.proved.choice
    rows = np.flatnonzero(choice != plan)
    variance = np.square(curves.standard_error)
    error = float(np.sqrt(variance[rows, choice[rows]].sum() + variance[rows, plan[rows]].sum()))
    gain = answer.own - answer.objective(curves, choice)
    if not gain > max(error, WORTH_SAYING * abs(answer.own)):
        return None
    loss, added = loss_of(curves, choice), _added(menu.offered, choice, menu.more)
    names = ", ".join(f"{name} ({layers} layers)" for name, layers in added.items())
    return WiderPlan(
        loss=loss,
        standard_error=spread_of(curves.standard_error, choice),
        gain=gain,
        gain_error=error,
        effective_bits=answer.bits_a_weight(solved.size_bits),
        added=added,
        advice=f"with every measured format the plan is expected to lose {loss:.4g} at the same budget, not {answer.loss:.4g} "
        f"(± {error:.2g} between the two): add {names} to formats (and menus)",
    )


def _added(classes: Classes, choice: NDArray[np.int64], more: NDArray[np.bool_]) -> dict[str, int]:
    found: dict[str, int] = {}
    for group in np.flatnonzero(more[np.arange(len(choice)), choice]).tolist():
        name = classes.formats[int(choice[group])].name
        found[name] = found.get(name, 0) + len(classes.groups[group])
    return dict(sorted(found.items(), key=lambda item: -item[1]))
