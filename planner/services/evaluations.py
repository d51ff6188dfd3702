"""Evaluations: a stored plan measured on held-out text, as a job, beside uniform under the same budget."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from planner.errors import InvalidRequestError, NotFoundError
from planner.jobs.job import Terms
from planner.schemas.base import Page
from planner.schemas.jobs import Job
from planner.schemas.plans import EvaluateRequest, Evaluation, Measured, PlanDocument
from planner.schemas.sizes import Size
from planner.services import jobs
from planner.services.calibrations import text_of_plan
from planner.services.curve_rounding import curve_rounding
from planner.services.job_drafts import EVALUATION, Draft
from planner.services.job_forecasts import evaluation_seconds
from planner.services.job_memory import evaluation_memory, least_evaluation_memory
from planner.services.planning_inputs import find_model
from planner.services.plans import get_plan, no_plan
from planner.storage.tables import CalibrationSetRow, EvaluationRow, JobRow, PlanRow
from sensitivity.formats.registry import resolve_format


class EvaluationPage(Page[Evaluation]):
    """Evaluations, newest job first."""


def submit_evaluation(session: Session, plan_id: str, request: EvaluateRequest) -> Job:
    """Queue the evaluation of a plan. The same evaluation while its job is unfinished gives that job.

    Raises:
        NotFoundError: no such plan or calibration set.
        InvalidRequestError: no calibration set is named and the plan's curves were made without one, or the plan is in formats
            of another tool.
        ConflictError: the curves were rounded by another version of their method.
    """
    return jobs.queue(session, draft_evaluation(session, plan_id, request))


def draft_evaluation(session: Session, plan_id: str, request: EvaluateRequest) -> Draft:
    """The job that evaluates a plan, found by reading alone.

    Raises:
        NotFoundError, InvalidRequestError, ConflictError: as ``submit_evaluation``.
    """
    document = get_plan(session, plan_id)
    calibration = text_of_plan(document, request.calibration)
    if session.get(CalibrationSetRow, calibration) is None:
        msg = f"no calibration set {calibration!r}: see bitplan calibrations list, or GET /v1/calibrations"
        raise NotFoundError(msg)
    _refuse_foreign(document)
    rounding = curve_rounding(session, document)
    payload: dict[str, Any] = {
        "plan_id": plan_id,
        "calibration_id": calibration,
        "rounding": rounding.method,
        "rounding_calibration_id": rounding.calibration_id,
        "assignments": assignments(document, baselines=list(request.baselines)),
    }
    model = find_model(session, document.model)
    payload |= evaluation_memory(session, model, payload)
    terms = Terms(
        memory_bytes=least_evaluation_memory(model, payload),
        forecast_seconds=evaluation_seconds(session, document.model, payload),
    )
    return Draft(EVALUATION, document.model, payload, terms)


def _refuse_foreign(document: PlanDocument) -> None:
    foreign = sorted({name for name in {choice.format for choice in document.choices} if resolve_format(name).is_foreign})
    if foreign:
        msg = (
            f"the plan gives layers formats of another tool ({', '.join(foreign[:3])}), which cannot be rounded here: "
            f"evaluate it with that tool, or plan with formats of bitplan"
        )
        raise InvalidRequestError(msg, formats=foreign[:20])


def assignments(document: PlanDocument, *, baselines: list[str]) -> dict[str, dict[str, Any]]:
    """What is evaluated: label → layers and size. A baseline that does not fit the budget is left out."""
    chosen = {choice.layer: choice.format for choice in document.choices}
    found = {"plan": _assignment(chosen, document.size)}
    for reference in document.references:
        if reference.format is not None and reference.size is not None and reference.label.split()[0] in baselines:
            found[reference.label] = _assignment(dict.fromkeys(chosen, reference.format), reference.size)
    return found


def _assignment(layers: dict[str, str], size: Size) -> dict[str, Any]:
    return {"layers": layers, "layer_bits": size.layer_bits, "effective_bits": size.effective_bits}


def list_evaluations(session: Session, plan_id: str) -> EvaluationPage:
    """All measurements of a plan, the newest job first, in the order of its assignments.

    Raises:
        NotFoundError: no such plan.
    """
    if session.get(PlanRow, plan_id) is None:
        raise no_plan(plan_id)
    query = (
        select(EvaluationRow)
        .join(JobRow, JobRow.id == EvaluationRow.job_id)
        .where(EvaluationRow.plan_id == plan_id)
        .order_by(JobRow.created_at.desc(), JobRow.id, EvaluationRow.id)
    )
    return EvaluationPage(items=[_document(row) for row in session.scalars(query)])


def newest_evaluations(session: Session, plans: Collection[str]) -> dict[tuple[str, str], Evaluation]:
    """The newest measurement of each plan and kind of assignment, by id of the plan and first word of the label: one query."""
    query = (
        select(EvaluationRow)
        .join(JobRow, JobRow.id == EvaluationRow.job_id)
        .where(EvaluationRow.plan_id.in_(plans))
        .order_by(JobRow.created_at.desc(), JobRow.id, EvaluationRow.id)
    )
    found: dict[tuple[str, str], Evaluation] = {}
    for row in session.scalars(query):
        found.setdefault((str(row.plan_id), row.label.split()[0]), _document(row))
    return found


def _document(row: EvaluationRow) -> Evaluation:
    return Evaluation(
        label=row.label,
        plan=row.plan_id,
        job=row.job_id,
        calibration=row.calibration_id,
        sequences=row.sequences,
        effective_bits=row.effective_bits,
        size_bits=row.size_bits,
        kl=Measured(value=row.kl, standard_error=row.kl_error),
        perplexity=Measured(value=row.perplexity, standard_error=row.perplexity_error),
        reference_perplexity=Measured(value=row.reference_perplexity, standard_error=row.reference_perplexity_error),
        top1_agreement=Measured(value=row.top1_agreement, standard_error=row.top1_error),
        router_flips=None
        if row.router_flips is None
        else Measured(value=row.router_flips, standard_error=row.router_flips_error),
        created_at=row.created_at,
    )
