"""When the menu, not the model, is the limit: what formats outside of it would do under the same budget."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

import solvers
from planner.build import Classes, GroupCurves, group_curves
from planner.curves import Curves
from planner.errors import PlannerError
from planner.runtimes import get_runtime
from planner.schemas.caveats import MenuLimit, OutsideFormat, Reason, WiderPlan
from planner.schemas.plans import PlanRequest
from planner.services.caveats import loss_of
from planner.services.planning_inputs import Inputs, Selected
from planner.services.posing import Posed, legal_classes, pose_counts
from planner.solving import Solved, rows_of, solve_plan
from planner.solving.caution import spread_of
from planner.solving.interpolation import interpolated
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import all_formats
from sensitivity.statistics import CellStatus

WORTH_SAYING: Final = 0.01
"""Of the plan's objective: a wider menu is nearly always a little better."""

MOST_UNIFORMS: Final = 5
ANY_RUNTIME: Final = "generic"


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """What was asked, without the menu.

    Attributes:
        request: what was asked.
        selected: the layers, with every rule but the menus.
        inputs: curves of the planned layers.
        posed: the question with its menu.
        solved: its answer.
        stop: limit of everything here.
    """

    request: PlanRequest
    selected: Selected
    inputs: Inputs
    posed: Posed
    solved: Solved
    stop: solvers.Deadline

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

    def classes(self, formats: Sequence[CandidateFormat], runtime: str) -> Classes:
        """Layer groups of a runtime that may take any of the formats."""
        asked = self.request.model_copy(update={"runtime": runtime})
        return legal_classes(self.selected, asked, [fmt.name for fmt in formats], self.inputs)

    def bits_a_weight(self, bits: int) -> float:
        return bits / self.selected.footprint.parameters


def menu_limit(
    request: PlanRequest, selected: Selected, inputs: Inputs, posed: Posed, solved: Solved, stop: solvers.Deadline
) -> MenuLimit | None:
    """What the plan misses by its menu, or ``None`` if that is nothing that the curves can tell.

    Everything is compared by expected losses (and the request's caution), within the plan's budget and counts, under its
    pins, floors and ceilings:

    - one format everywhere, which the request leaves out, the runtime refuses, or nobody measured (then between measured
      neighbours): said when it beats the plan at all;
    - the plan with every measured format that the runtime takes: said when it is better by more than its standard error and
      by a hundredth.
    """
    if not posed.classes.groups:
        return None
    question = _Question(request, replace(selected, rules=replace(selected.rules, menus={})), inputs, posed, solved, stop)
    asked = inputs.measured if inputs.expected is None else inputs.expected
    measured = asked if inputs.others is None else asked.beside(_whole(inputs.others, asked))
    uniforms = _uniforms(question, measured)
    wider = _wider(question, measured)
    if not uniforms and wider is None:
        return None
    return MenuLimit(loss=question.loss, uniforms=uniforms, wider=wider)


def _whole(others: Curves, asked: Curves) -> Curves:
    """Formats measured on every planned layer; experts may be silent where they are in the formats that were asked for."""
    silent = (asked.status == CellStatus.NO_TOKENS).any(axis=1)[:, None]
    known = (others.status != "") & ((others.status != CellStatus.NO_TOKENS) | silent)
    return others.part(range(len(others.layers)), np.flatnonzero(known.all(axis=0)).tolist())


def _uniforms(question: _Question, measured: Curves) -> list[OutsideFormat]:
    guessed = interpolated(measured, all_formats())
    curves = measured.beside(_whole(guessed, measured))
    promising = [column for column, fmt in enumerate(curves.formats) if _may_beat(question, curves, column, fmt)]
    if not promising:
        return []
    here, free = (question.classes(curves.formats, runtime) for runtime in (question.request.runtime, ANY_RUNTIME))
    losses = group_curves(free, curves)
    rows = rows_of(pose_counts(question.request.counts, free))
    found = []
    for column in promising:
        reason = _reason(here, column, measured=column < len(measured.formats))
        if reason is None or any(row.table[:, column].sum() > row.limit for row in rows):
            continue
        bits = int((free if reason == "runtime" else here).sizes[:, column].sum())
        choice = np.full(len(free.groups), column, dtype=np.int64)
        if bits <= question.solved.budget_bits and question.objective(losses, choice) < question.own:
            found.append(_outside(question, losses, choice, fmt=curves.formats[column], reason=reason, bits=bits))
    return sorted(found, key=lambda one: one.loss)[:MOST_UNIFORMS]


def _may_beat(question: _Question, curves: Curves, column: int, fmt: CandidateFormat) -> bool:
    """Whether a format that the plan cannot take everywhere is worth a closer look: its bare elements fit, and its losses."""
    own = question.posed.classes
    inside = column < len(own.formats) and bool(own.legal[:, column].all())
    fits = fmt.num_bits * question.selected.footprint.parameters <= question.solved.budget_bits
    return not inside and fits and bool(np.nansum(curves.loss[:, column]) < question.own)


def _outside(
    question: _Question, losses: GroupCurves, choice: NDArray[np.int64], *, fmt: CandidateFormat, reason: Reason, bits: int
) -> OutsideFormat:
    loss = loss_of(losses, choice)
    said = f"{fmt.name} everywhere is expected to lose {loss:.4g} within the budget, this plan {question.loss:.4g}"
    runtime = get_runtime(question.request.runtime)
    if reason == "runtime":
        why = next(text for layer in question.selected.layers if (text := runtime.refusal(fmt, layer)) is not None)
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
        effective_bits=question.bits_a_weight(bits),
        advice=f"{said}; {advice}",
    )


def _reason(here: Classes, column: int, *, measured: bool) -> Reason | None:
    """Why the plan cannot take the format everywhere; ``None`` if two things are in the way."""
    legal = bool(here.legal[:, column].all())
    if not measured:
        return "unmeasured" if legal else None
    return "menu" if legal else "runtime"


def _wider(question: _Question, measured: Curves) -> WiderPlan | None:
    own, request = question.posed.classes, question.request
    if question.stop.passed() or (len(measured.formats) == len(own.formats) and not request.menus):
        return None
    legal = question.classes(measured.formats, request.runtime)
    curves = group_curves(legal, measured)
    offered = replace(legal, legal=legal.legal & np.isfinite(curves.loss))
    more = offered.legal.copy()
    more[:, : len(own.formats)] &= ~own.legal
    if not more.any():
        return None
    counts = rows_of(pose_counts(request.counts, legal))
    try:
        solved = solve_plan(
            offered,
            curves,
            question.solved.budget_bits,
            deadline=question.stop.remaining(),
            counts=counts,
            caution=request.caution,
        )
    except PlannerError:  # none was found in time: the plan itself is one, so there is one
        return None
    choice, plan = solved.proved.choice, question.solved.proved.choice
    rows = np.flatnonzero(choice != plan)
    variance = np.square(curves.standard_error)
    error = float(np.sqrt(variance[rows, choice[rows]].sum() + variance[rows, plan[rows]].sum()))
    gain = question.own - question.objective(curves, choice)
    if not gain > max(error, WORTH_SAYING * abs(question.own)):
        return None
    loss, added = loss_of(curves, choice), _added(offered, choice, more)
    names = ", ".join(f"{name} ({layers} layers)" for name, layers in added.items())
    return WiderPlan(
        loss=loss,
        standard_error=spread_of(curves.standard_error, choice),
        gain=gain,
        gain_error=error,
        effective_bits=question.bits_a_weight(solved.size_bits),
        added=added,
        advice=f"with every measured format the plan is expected to lose {loss:.4g} at the same budget, not {question.loss:.4g} "
        f"(± {error:.2g} between the two): add {names} to formats (and menus)",
    )


def _added(classes: Classes, choice: NDArray[np.int64], more: NDArray[np.bool_]) -> dict[str, int]:
    found: dict[str, int] = {}
    for group in np.flatnonzero(more[np.arange(len(choice)), choice]).tolist():
        name = classes.formats[int(choice[group])].name
        found[name] = found.get(name, 0) + len(classes.groups[group])
    return dict(sorted(found.items(), key=lambda item: -item[1]))
