"""Choose among models: the frontiers of several models under one byte budget, on one yardstick.

Losses of different models are KLs to *different* references and are not comparable. Comparable is how well each model predicts
one held-out text, and of a plan that is estimated: ``NLL(plan) ≈ NLL(reference) + KL(reference ‖ plan)``. With δ the
log-probability that a plan takes from a token, the KL is the mean of δ over the reference's own distribution and the increase of
the NLL its mean over the text. The two differ as far as the text is not what the reference expects and δ goes along with it: by
either sign, and little where δ comes from many small rounding errors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from sqlalchemy.orm import Session

import solvers
from planner.errors import InvalidRequestError
from planner.schemas.families import (
    Crossing,
    EnvelopePoint,
    FamilyDocument,
    FamilyModel,
    FamilyPoint,
    FamilyRequest,
    FamilySide,
)
from planner.schemas.plans import Question
from planner.services.family_envelopes import Change, changes
from planner.services.family_yardsticks import Yardstick, yardsticks
from planner.services.planning_inputs import find_model
from planner.services.posing import size_of
from planner.services.preparing import Prepared, prepare
from planner.solving import pose_problem
from planner.solving.caution import spread_of
from planner.storage.tables import ModelRow

APPROXIMATION: Final = (
    "models are compared by reference NLL + predicted KL: an estimate of the NLL of each plan on the held-out text, whose error "
    "the models' measured entries show"
)
PAIRED: Final = (
    "nll_error is of each model alone: on one text the errors of the references move together, so that differences are surer"
)


@dataclass(frozen=True)
class _Member:
    """One model: its problem, and the best plan under each budget that was asked for."""

    row: ModelRow
    prepared: Prepared
    yardstick: Yardstick
    request: FamilyRequest
    problem: solvers.Problem
    known: dict[int, FamilyPoint] = field(default_factory=dict)

    @property
    def fixed_bytes(self) -> int:
        """What the budget holds beside the planned layers."""
        return self._bytes(0)

    @property
    def smallest_bytes(self) -> int:
        """Of its smallest plan."""
        return self._bytes(int(self.problem.smallest_sizes()[0]))

    @property
    def largest_bytes(self) -> int:
        """Of the smallest plan that loses least."""
        return self._bytes(int(solvers.even_budgets(self.problem, 1)[0]))

    def solve(self, budgets: Sequence[int], stop: solvers.Deadline) -> None:
        """Plan under each of these budgets."""
        new = [budget for budget in budgets if budget not in self.known and budget >= self.smallest_bytes]
        if not new:
            return
        bits = [8 * (budget - self.fixed_bytes) for budget in new]
        found = solvers.proved(self.problem, bits, deadline=stop.remaining())
        for j, budget in enumerate(new):
            self.known[budget] = self._point(budget, found, j)

    def nll(self, budget: int) -> float:
        """Predicted NLL of the best plan; infinite where none fits."""
        point = self.known.get(budget)
        return math.inf if point is None else point.predicted_nll

    def _bytes(self, bits: int) -> int:
        request = self.request
        size = size_of(
            bits,
            self.prepared.selected.footprint,
            context=request.context,
            batch=request.batch,
            workspace=request.workspace_bytes,
        )
        return size.resident_bytes if request.limit == "resident_bytes" else size.file_bytes

    def _point(self, budget: int, found: solvers.Frontier, j: int) -> FamilyPoint:
        bits, loss, gap = int(found.sizes[j]), float(found.losses[j]), float(found.gaps[j])
        error = spread_of(self.prepared.posed.curves.standard_error, found.choices[j])
        parameters = self.prepared.selected.footprint.parameters
        return FamilyPoint(
            budget_bytes=budget,
            bytes=self._bytes(bits),
            effective_bits=bits / parameters if parameters else 0.0,
            predicted_loss=loss,
            standard_error=error,
            predicted_nll=self.yardstick.nll + loss,
            nll_error=None if self.yardstick.error is None else math.hypot(self.yardstick.error, error),
            gap=gap if np.isfinite(gap) else None,
        )


def make_family(session: Session, request: FamilyRequest) -> FamilyDocument:
    """Frontiers of several models, their lower envelope and its crossings: computed now from stored curves, not kept.

    Every plan is proven optimal unless the deadline comes first.

    Raises:
        NotFoundError: no such model, calibration set or probe setting.
        InvalidRequestError: a model that was not evaluated on the text, has no curves in nats, or has another vocabulary; rules
            that contradict each other or a model; cells that nobody measured.
    """
    stop = solvers.Deadline.after(request.deadline_seconds)
    rows = [find_model(session, name) for name in request.models]
    _check_models(rows, request)
    text, found = yardsticks(session, rows, request.text)
    members = [_member(session, row, yardstick, request) for row, yardstick in zip(rows, found, strict=True)]
    budgets = _budgets(members, request.points)
    for member in members:
        member.solve(budgets, stop)
    changed = _changes(members, budgets, stop)
    return FamilyDocument(
        limit=request.limit,
        runtime=request.runtime,
        text=text,
        models=[_document(member, budgets) for member in members],
        envelope=[_best_point(members, budget) for budget in budgets],
        crossings=[_crossing(members, change) for change in changed],
        notes=_notes(members, changed),
    )


def _check_models(rows: Sequence[ModelRow], request: FamilyRequest) -> None:
    if len({row.id for row in rows}) < len(rows):
        msg = "two of these names are one model: name each model once"
        raise InvalidRequestError(msg, models=[row.id for row in rows])
    vocabularies = {row.name: row.vocab_size for row in rows}
    if len(set(vocabularies.values())) > 1 and not request.same_tokenizer:
        sizes = ", ".join(f"{name} {size:,}" for name, size in vocabularies.items())
        msg = (
            f"vocabularies of different sizes ({sizes}): losses per token are comparable only if the models cut text alike. "
            f"Set same_tokenizer (--same-tokenizer) if they do"
        )
        raise InvalidRequestError(msg, vocabularies=vocabularies)


def _member(session: Session, row: ModelRow, yardstick: Yardstick, request: FamilyRequest) -> _Member:
    shared = set(Question.model_fields) & set(FamilyRequest.model_fields)
    question = Question.model_validate({"model": row.id} | request.model_dump(include=shared))
    prepared = prepare(session, question)
    setting = prepared.inputs.setting
    if not setting.in_nats:
        msg = (
            f"the curves of {row.name!r} ({setting.probe}) are not in nats per token, so they cannot be added to its NLL: "
            f"measure it with fisher or kl, or link its curves (bitplan link)"
        )
        raise InvalidRequestError(msg, model=row.id, probe=setting.probe)
    posed = prepared.posed
    return _Member(row, prepared, yardstick, request, pose_problem(posed.classes, posed.curves, 0))


def _budgets(members: Sequence[_Member], points: int) -> list[int]:
    """Evenly spaced, and the smallest plan of every model, where it begins to count."""
    low, high = min(member.smallest_bytes for member in members), max(member.largest_bytes for member in members)
    even = {low + (high - low) * j // (points - 1) for j in range(points)}
    return sorted(even | {member.smallest_bytes for member in members})


def _changes(members: Sequence[_Member], budgets: Sequence[int], stop: solvers.Deadline) -> list[Change]:
    def best(budget: int) -> int:
        for member in members:
            member.solve([budget], stop)
        return _best(members, budget)

    return changes(budgets, best, go_on=lambda: not stop.passed())


def _best(members: Sequence[_Member], budget: int) -> int:
    """Index of the model with the least predicted NLL; of equals the smaller one."""
    return min(range(len(members)), key=lambda i: (members[i].nll(budget), members[i].row.parameters))


def _best_point(members: Sequence[_Member], budget: int) -> EnvelopePoint:
    best = _best(members, budget)
    return EnvelopePoint(model=best, **members[best].known[budget].model_dump())


def _document(member: _Member, budgets: Sequence[int]) -> FamilyModel:
    setting = member.prepared.inputs.setting
    return FamilyModel(
        model=member.row.id,
        model_name=member.row.name,
        parameters=member.row.parameters,
        probe=setting.probe,
        setting=setting.id,
        formats=[fmt.name for fmt in member.prepared.classes.formats],
        reference_nll=member.yardstick.nll,
        reference_nll_error=member.yardstick.error,
        reference_job=member.yardstick.job,
        smallest_bytes=member.smallest_bytes,
        points=[member.known[budget] for budget in budgets if budget in member.known],
        measured=member.yardstick.measured,
    )


def _crossing(members: Sequence[_Member], change: Change) -> Crossing:
    worse, better = (_side(members, index, change.above) for index in (change.worse, change.better))
    larger = members[change.better].row.parameters > members[change.worse].row.parameters
    size = "larger" if larger else "smaller"
    if worse.effective_bits is None or better.effective_bits is None:
        advice = f"from {change.above:,} bytes on {better.model_name}"
    else:
        advice = (
            f"from {change.above:,} bytes on the {size} model {better.model_name} at {better.effective_bits:.2f} bits, "
            f"below it {worse.model_name} (there at {worse.effective_bits:.2f} bits)"
        )
    return Crossing(budget_bytes=change.above, above_bytes=change.below, worse=worse, better=better, advice=advice)


def _side(members: Sequence[_Member], index: int, budget: int) -> FamilySide:
    point = members[index].known.get(budget)
    return FamilySide(
        model=index,
        model_name=members[index].row.name,
        effective_bits=None if point is None else point.effective_bits,
        predicted_nll=None if point is None else point.predicted_nll,
    )


def _notes(members: Sequence[_Member], changed: Sequence[Change]) -> list[str]:
    notes = [APPROXIMATION, PAIRED]
    notes += [f"{member.row.name}: {note}" for member in members for note in member.prepared.posed.curves.notes]
    if any(change.above - change.below > 1 for change in changed):
        notes.append(
            "the deadline came before all crossings were found to the byte: they lie between above_bytes and budget_bytes"
        )
    return notes
