"""What a job would be: the draft of that very job, which is found by reading alone. Nothing is written, and nobody waits."""

from typing import Any

from sqlalchemy.orm import Session, make_transient_to_detached

from planner.jobs.sql_engine import SqlJobEngine
from planner.schemas.calibrations import CreateCalibration
from planner.schemas.jobs import JobForecast, SubmitSensitivity
from planner.schemas.plans import EvaluateRequest
from planner.services import calibrations, jobs
from planner.services.evaluations import draft_evaluation
from planner.services.job_drafts import Draft, draft_sensitivity
from planner.services.job_waiting import lacking
from planner.services.planning_inputs import find_model
from planner.storage.database import Database
from planner.storage.tables import CalibrationSetRow
from sensitivity.checkpoint.description import SourceKind
from sensitivity.probe_facts import get_facts
from sensitivity.rounding_facts import get_rounding_facts


def forecast_sensitivity(session: Session, request: SubmitSensitivity) -> JobForecast:
    """What a sensitivity job would be. Without a calibration set where one is needed, the built-in text is assumed.

    Raises:
        NotFoundError, UnmeasuredError, InvalidRequestError, UnknownFormatError, UnknownProbeError, UnsupportedShapeError,
            TooManyProductsError: what submitting it would raise.
    """
    if request.calibration is None and _needs_text(request):
        usual = _builtin(session)  # held here: a session refers weakly to what it knows
        request = request.model_copy(update={"calibration": usual.id})
    draft = draft_sensitivity(session, request)
    asked = draft.payload
    cells = asked.get("cells")
    text = _text(session, asked["calibration_id"])
    streams = get_facts(asked["probe"]).streams and find_model(session, draft.model_id).kind == SourceKind.SAFETENSORS
    return _told(
        session,
        draft,
        layers=len(asked["layers"]),
        formats=asked["formats"],
        cells=len(asked["layers"]) * len(asked["formats"]) if cells is None else sum(map(len, cells.values())),
        sequences=text.sequences if text else 0,
        tokens=text.sequences * text.sequence_length if text else 0,
        streams=streams,
    )


def forecast_evaluation(session: Session, plan: str, request: EvaluateRequest) -> JobForecast:
    """What the evaluation of a plan would be.

    Raises:
        NotFoundError, InvalidRequestError, ConflictError: what submitting it would raise.
    """
    draft = draft_evaluation(session, plan, request)
    text = session.get_one(CalibrationSetRow, draft.payload["calibration_id"])
    layers = draft.payload["assignments"]["plan"]["layers"]
    return _told(
        session,
        draft,
        layers=len(layers),
        formats=sorted(set(layers.values())),
        cells=None,
        sequences=text.held_out_sequences,
        tokens=text.held_out_sequences * text.held_out_length,
        streams=find_model(session, draft.model_id).kind == SourceKind.SAFETENSORS,
    )


def _told(session: Session, draft: Draft, *, streams: bool, **work: Any) -> JobForecast:
    """The draft in words, with what it would wait for and the same job where there is one."""
    same, waits = None, None
    if draft.nothing is None:
        same = jobs.find_unfinished(session, kind=draft.kind, model_id=draft.model_id, payload=dict(draft.payload))
        waits = lacking(draft.kind, draft.terms, SqlJobEngine(Database.of(session)).list_workers(session))
    memory = draft.payload.get("memory")
    return JobForecast(
        kind=draft.kind,
        seconds=draft.terms.forecast_seconds,
        memory_bytes=draft.terms.memory_bytes,
        whole_bytes=memory["whole_bytes"] if memory else None,
        streamed_bytes=memory["streamed_bytes"] if memory and streams else None,
        waits_for=waits if same is None else same.waits_for,
        unfinished=None if same is None else same.id,
        note=draft.nothing,
        **work,
    )


def _needs_text(request: SubmitSensitivity) -> bool:
    return get_facts(request.probe).needs_calibration or get_rounding_facts(request.rounding).needs_inputs


def _builtin(session: Session) -> CalibrationSetRow:
    """The built-in text as it is usually cut; the session finds it also where it is not stored, and stores nothing."""
    usual = calibrations.prepare(CreateCalibration())
    known = session.get(CalibrationSetRow, usual.id)
    if known is not None:
        return known
    make_transient_to_detached(usual)
    session.add(usual)
    return usual


def _text(session: Session, calibration: str | None) -> CalibrationSetRow | None:
    return None if calibration is None else session.get(CalibrationSetRow, calibration)
