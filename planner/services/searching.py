"""Refining a plan by evolutionary search: what is searched goes into a job, and what it found becomes a plan if it is better."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from planner.errors import InvalidRequestError
from planner.jobs.job import Terms
from planner.plan_search import PlanSearch
from planner.schemas.jobs import Job
from planner.schemas.plans import PlanDocument, PlanRequest
from planner.schemas.searches import SearchRequest
from planner.services import jobs
from planner.services.asking import ask, beside_caches
from planner.services.calibrations import find_calibration, text_of_plan
from planner.services.curve_rounding import curve_rounding
from planner.services.plan_questions import asked_again
from planner.services.plans import get_plan, make_plan, store_plan
from planner.services.preparing import prepare
from planner.solving import pose_problem
from planner.storage.tables import CalibrationSetRow
from sensitivity.formats.registry import resolve_format

REFINEMENT = "refinement"


def submit_search(session: Session, plan_id: str, request: SearchRequest) -> Job:
    """Queue an evolutionary search that starts from a plan and keeps its limits, counts, rules, and formats of caches.

    Generations are measured one after the other on the calibration set; then its held-out part decides whether what was found
    becomes a plan. The same request while its job is unfinished gives that job.

    Raises:
        NotFoundError: no such plan or calibration set.
        InvalidRequestError: no calibration set is named and the plan's curves were made without one, or formats of another tool.
        ConflictError: the curves were rounded by another version of their method.
        UnmeasuredError, PinConflictError: the plan's curves are not what they were.
    """
    document = get_plan(session, plan_id)
    rounding = curve_rounding(session, document)
    text = find_calibration(session, text_of_plan(document, request.calibration))
    question = _question(document)
    payload = {
        "plan_id": plan_id,
        "calibration_id": text.id,
        "rounding": rounding.method,
        "rounding_calibration_id": rounding.calibration_id,
        "question": question.model_dump(mode="json"),
        "generations": request.generations,
        "offspring": request.offspring,
        "token_forwards": request.token_forwards,
        "seed": request.seed,
        jobs.FOR_WORKERS: _search(session, document, question, request, text).as_json(),
    }
    same = jobs.find_unfinished(session, kind=REFINEMENT, model_id=document.model, payload=payload)
    terms = Terms(priority=request.priority, label=request.label, sequential=True)
    return same or jobs.submit(session, kind=REFINEMENT, model_id=document.model, payload=payload, terms=terms)


def store_found(session: Session, payload: Mapping[str, Any], layers: Mapping[str, str], *, said: str) -> PlanDocument:
    """Store what a search found as a plan: the question of its start, with every layer pinned.

    Args:
        session: the transaction in which the job ends.
        payload: of the job.
        layers: layer → format.
        said: what was measured, for the notes of the plan.

    Raises:
        PlannerError: the plan cannot be made any more: the model or its curves are gone.
    """
    asked = PlanRequest.model_validate(payload["question"] | {"pins": dict(layers), "allow_slack": True})
    made = make_plan(session, asked)
    found = made.model_copy(update={"notes": [*made.notes, said]})
    store_plan(session, found)
    return found


def _question(document: PlanDocument) -> PlanRequest:
    """What the plan answered, with the same curves again."""
    asked = document.request.model_dump() | asked_again(document) | {"alternatives": 0}
    if document.budget.max_loss is not None:  # a better one of the same bytes, whatever it is predicted to lose
        asked["budget"] |= {"max_loss": None, "resident_bytes": document.size.resident_bytes}
    return PlanRequest.model_validate(asked)


def _search(
    session: Session, document: PlanDocument, question: PlanRequest, request: SearchRequest, text: CalibrationSetRow
) -> PlanSearch:
    prepared = prepare(session, question)
    posed = prepared.posed
    names = [fmt.name for fmt in posed.classes.formats]
    foreign = [name for name in names if resolve_format(name).is_foreign]
    if foreign:
        msg = f"the plan chose from formats of another tool ({', '.join(foreign[:3])}), which cannot be rounded here"
        raise InvalidRequestError(msg, formats=foreign[:20])
    bits, rows = beside_caches(ask(session, prepared, question), document.kv)
    chosen = {choice.layer: choice.format for choice in document.choices}
    groups = tuple(tuple(posed.classes.layers[i].name for i in group) for group in posed.classes.groups)
    forwards = request.token_forwards
    return PlanSearch(
        problem=pose_problem(posed.classes, posed.curves, bits, rows),
        start=tuple(names.index(chosen[group[0]]) for group in groups),
        groups=groups,
        formats=tuple(names),
        offspring=request.offspring,
        pool=text.sequences,
        units=None if forwards is None else forwards // text.sequence_length,
        seed=request.seed,
    )
