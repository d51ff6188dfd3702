"""Refining a plan: measure what changes around it, then take a short step that is surely better."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from planner.errors import InvalidRequestError, UnmeasuredError
from planner.measuring import setting_of
from planner.schemas.jobs import Job
from planner.schemas.plans import MeasureAroundRequest, PlanDocument, PlanRequest, RefineRequest
from planner.services import jobs
from planner.services.calibrations import find_calibration, text_of_plan
from planner.services.curve_rounding import curve_rounding
from planner.services.job_drafts import SENSITIVITY
from planner.services.plan_questions import asked_again
from planner.services.plans import get_plan, make_plan
from planner.storage.cells import load_curves, measured_formats
from planner.storage.operating_points import AROUND, digest
from planner.storage.tables import ProbeSettingRow
from sensitivity.formats.families import get_cell_format
from sensitivity.formats.registry import get_format, resolve_format
from sensitivity.probe_facts import MARGINAL
from sensitivity.rounding_facts import get_rounding_facts


def submit_around(session: Session, plan_id: str, request: MeasureAroundRequest) -> Job:
    """Queue the measurement of every format that the plan chose from, in every layer, around the plan.

    A plan that assigns what another did is measured around once: the job is done at once then.

    Raises:
        NotFoundError: no such plan or calibration set.
        InvalidRequestError: no calibration set is named and the plan's curves were made without one, or a plan in formats of
            another tool.
        ConflictError: the curves were rounded by another version of their method.
    """
    document = get_plan(session, plan_id)
    rounding = curve_rounding(session, document)
    layers = _assignment(document)
    payload: dict[str, Any] = {
        "probe": MARGINAL.name,
        "probe_parameters": {"draws": request.draws},
        "rounding": rounding.method,
        "calibration_id": _calibration(session, document, request),
        "seed": request.seed,
        "layers": list(layers),
        "formats": _formats(document),
        AROUND: layers,
    }
    setting = setting_of(payload)
    formats = [get_cell_format(name) for name in payload["formats"]]
    known = load_curves(session, document.model, setting.id, formats, payload["layers"]).status != ""
    if known.all() and not request.force:
        reason = "everything around this plan is measured already; set force to measure again"
        return jobs.submit_done(session, kind=SENSITIVITY, model_id=document.model, payload=payload, reason=reason)
    same = jobs.find_unfinished(session, kind=SENSITIVITY, model_id=document.model, payload=payload)
    return same or jobs.submit(session, kind=SENSITIVITY, model_id=document.model, payload=payload)


def refine_plan(session: Session, plan_id: str, request: RefineRequest) -> PlanDocument:
    """A plan of the same question by a short step from this one, without storing it: reading and a few milliseconds.

    Returns:
        The next plan; this plan itself where no change of it is surely better.

    Raises:
        NotFoundError: no such plan, or its model is gone.
        UnmeasuredError: nothing was measured around it.
        BudgetError, InvalidRequestError, CountConflictError: as when a plan is made.
    """
    document = get_plan(session, plan_id)
    setting = _freshest_setting(session, document)
    step = {"setting": setting, "step_errors": request.step_errors, "caution": 0.0}
    asked = PlanRequest.model_validate(document.request.model_dump() | asked_again(document) | step)
    found = make_plan(session, asked)
    return document if found.predicted.step is None or found.predicted.step.layers == 0 else found


def _assignment(document: PlanDocument) -> dict[str, str]:
    foreign = sorted({choice.format for choice in document.choices if resolve_format(choice.format).is_foreign})
    if foreign:
        msg = f"the plan gives layers formats of another tool ({', '.join(foreign[:3])}), which cannot be rounded here"
        raise InvalidRequestError(msg, formats=foreign[:20])
    return {choice.layer: get_format(choice.format).name for choice in document.choices}


def _formats(document: PlanDocument) -> list[str]:
    """Those of the menu; the formats that the plan has are among them."""
    offered = [name for name in document.formats if not resolve_format(name).is_foreign]
    return list(dict.fromkeys([*offered, *(choice.format for choice in document.choices)]))


def _calibration(session: Session, document: PlanDocument, request: MeasureAroundRequest) -> str:
    """The text of the curves, which is also what a method with data rounded by."""
    own, rounding = document.provenance.calibration, document.provenance.rounding
    if get_rounding_facts(rounding).needs_inputs and request.calibration not in (None, own):
        msg = f"{rounding} rounds by the text of the plan's curves: measure around it on the same"
        raise InvalidRequestError(msg, calibration=own)
    return find_calibration(session, text_of_plan(document, request.calibration)).id


def _freshest_setting(session: Session, document: PlanDocument) -> str:
    """Id of the newest setting whose cells are changes from exactly this assignment, in the weights that the plan is made of."""
    around = digest({choice.layer: choice.format for choice in document.choices})
    newest = sorted(measured_formats(session, document.model), key=lambda row: row.measured_at, reverse=True)
    numbers = list(dict.fromkeys(row.setting_id for row in newest))
    rows = {row.id: row for row in session.scalars(select(ProbeSettingRow).where(ProbeSettingRow.id.in_(numbers)))}
    for number in numbers:
        if rows[number].parameters.get(AROUND) == around and rows[number].rounding == document.provenance.rounding:
            return number
    msg = f"nothing was measured around plan {document.id!r}: run `bitplan refine`, or POST /v1/plans/{document.id}/measure first"
    raise UnmeasuredError(msg, plan=document.id)
