"""Jobs: what is worth queueing, how far it is, and how to stop it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from planner.cells import ProbeSetting
from planner.errors import InvalidRequestError
from planner.jobs.engine import AbstractJobEngine
from planner.jobs.job import USUAL_TERMS, JobState, Pace, Terms
from planner.jobs.job import Job as Snapshot
from planner.jobs.rows import UNFINISHED, end, snapshot
from planner.jobs.sql_engine import SqlJobEngine
from planner.jobs.workers import SeenWorker
from planner.measuring import setting_of
from planner.schemas.jobs import Job, JobPage, SubmitSensitivity, UnitFailure
from planner.services.asked_cells import asked_cells
from planner.services.calibrations import find_calibration
from planner.services.job_forecasts import forecast_seconds
from planner.services.job_memory import least_memory, memory_of
from planner.services.job_waiting import waits_for
from planner.services.pagination import page
from planner.services.planning_inputs import find_model
from planner.services.reuse import take_over
from planner.storage.cells import load_curves
from planner.storage.database import Database
from planner.storage.tables import CalibrationSetRow, JobRow
from sensitivity.cross_terms import refuse_too_many
from sensitivity.formats.abstract import FormatFamily
from sensitivity.probe_facts import get_facts
from sensitivity.rounding_facts import RTN, get_rounding_facts

SENSITIVITY = "sensitivity"
EVALUATION = "evaluation"
FOR_WORKERS = "for_workers"
"""Part of a payload that documents leave out: long tables which tell people nothing."""

_SHOWN_FAILURES = 20
_NOTHING_MISSING = "every cell asked for is measured already, or taken over; set force to measure again"


def submit_sensitivity(session: Session, request: SubmitSensitivity) -> Job:
    """Queue the measurement of the cells that are missing.

    A cell that was measured in the same setting is not measured again unless ``force`` is set; if none is missing, the job is
    done at once. Where not all formats are missing of all its layers, the job names its cells one by one. The same request
    while its job is unfinished gives that job. With ``reuse``, cells of another model are taken over first, and the job measures
    what moved.

    Raises:
        NotFoundError: no such model or calibration set.
        UnmeasuredError: ``reuse`` without curves of that model, or without its comparison with this one.
        InvalidRequestError: a pattern that matches nothing, a cell that the model or the request does not have, no layer left,
            no calibration set where one is needed, a rounding method for a probe that rounds no weights, or a probe that
            measures around a plan.
        UnknownFormatError: no such format, or none that the probe measures.
        UnknownProbeError: no such probe, or a parameter that it does not have.
        UnsupportedShapeError: a format that can store none of the layers, or not the layer of a cell that was named.
        TooManyProductsError: the probe keeps score products, and so many would not fit in memory.
    """
    model = find_model(session, request.model)
    if get_facts(request.probe).around_plan:
        msg = f"the probe {request.probe} measures around a plan: bitplan refine PLAN, or POST /v1/plans/{{plan}}/measure"
        raise InvalidRequestError(msg, probe=request.probe)
    found = asked_cells(session, model, request)
    _refuse_needless_rounding(request)
    payload: dict[str, Any] = {
        "probe": request.probe,
        "probe_parameters": dict(request.probe_parameters),
        "rounding": request.rounding,
        "calibration_id": _calibration(session, request),
        "seed": request.seed,
    }
    payload |= take_over(session, model, request, payload, found)
    setting = setting_of(payload)
    known = load_curves(session, model.id, setting.id, found.formats, [layer.name for layer in found.layers]).status != ""
    listed = found.asked if request.force else found.asked & ~known
    missing = listed & found.storable
    if not missing.any():
        done = {**payload, "formats": [], "layers": []}
        return submit_done(session, kind=SENSITIVITY, model_id=model.id, payload=done, reason=_NOTHING_MISSING)
    rows, columns = missing.any(axis=1), missing.any(axis=0)
    payload["formats"] = [found.formats[k].name for k in np.flatnonzero(columns)]
    payload["layers"] = [found.layers[i].name for i in np.flatnonzero(rows)]
    if not listed[np.ix_(rows, columns)].all():
        payload["cells"] = found.names(missing)
    payload |= memory_of(session, model, payload, request.streaming)
    if get_facts(request.probe).keeps_products:
        _refuse_too_many_products(session, payload, setting)
    same = find_unfinished(session, kind=SENSITIVITY, model_id=model.id, payload=payload)
    if same is not None:
        return same
    terms = Terms(
        priority=request.priority,
        label=request.label,
        memory_bytes=least_memory(model, payload),
        forecast_seconds=forecast_seconds(session, SENSITIVITY, model.id, payload),
    )
    return submit(session, kind=SENSITIVITY, model_id=model.id, payload=payload, terms=terms)


def submit(session: Session, *, kind: str, model_id: str, payload: dict[str, Any], terms: Terms = USUAL_TERMS) -> Job:
    """Queue a job that is known to be sound.

    Args:
        session: a write transaction.
        kind: which handler of the worker does it.
        model_id: fingerprint of a registered model.
        payload: what the handler is told.
        terms: how it is to be run.
    """
    queued = _engine(session).submit(session, kind=kind, model_id=model_id, payload=payload, terms=terms)
    return _document(session, queued)


def submit_done(session: Session, *, kind: str, model_id: str, payload: dict[str, Any], reason: str) -> Job:
    """A job that succeeded at once, because there is nothing to do for it; the reason says why."""
    queued = _engine(session).submit(session, kind=kind, model_id=model_id, payload=payload)
    row = session.get_one(JobRow, queued.id)
    row.total, row.started_at = 0, row.created_at
    end(row, JobState.SUCCEEDED, reason, row.created_at)
    session.flush()
    return _document(session, snapshot(row))


def find_unfinished(session: Session, *, kind: str, model_id: str, payload: dict[str, Any]) -> Job | None:
    """The job that does exactly this and has not ended, if there is one."""
    query = select(JobRow).where(JobRow.model_id == model_id, JobRow.kind == kind, JobRow.state.in_(UNFINISHED))
    same = next((row for row in session.scalars(query) if row.payload == payload), None)
    return None if same is None else _document(session, snapshot(same))


def get_job(session: Session, job_id: str) -> Job:
    """A job and how far it is.

    Raises:
        NotFoundError: no such job.
    """
    return _document(session, _engine(session).get(session, job_id))


def list_jobs(
    session: Session,
    *,
    model: str | None = None,
    state: JobState | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> JobPage:
    """Jobs, newest first, of one model or in one state if asked for.

    Raises:
        NotFoundError: no such model.
        InvalidRequestError: a cursor that no page gave.
    """
    query = select(JobRow)
    if model is not None:
        query = query.where(JobRow.model_id == find_model(session, model).id)
    if state is not None:
        query = query.where(JobRow.state == state.value)
    rows, following = page(session, query, key=(JobRow.created_at, JobRow.id), cursor=cursor, limit=limit)
    workers = _engine(session).list_workers(session)
    return JobPage(items=[_document(session, snapshot(row[0]), workers) for row in rows], next=following)


def cancel_job(session: Session, job_id: str) -> Job:
    """Stop a job before its next unit; a job that is cancelled already stays so.

    Raises:
        NotFoundError: no such job.
        ConflictError: it ended in another way before.
    """
    return _document(session, _engine(session).cancel(session, job_id))


def pause_job(session: Session, job_id: str) -> Job:
    """Begin no further unit of a job until it is resumed; what runs now is recorded. A paused job stays paused.

    Raises:
        NotFoundError: no such job.
        ConflictError: it has ended.
    """
    return _document(session, _engine(session).pause(session, job_id))


def resume_job(session: Session, job_id: str) -> Job:
    """Let a paused job go on; one that is queued or running stays so.

    Raises:
        NotFoundError: no such job.
        ConflictError: it has ended.
    """
    return _document(session, _engine(session).resume(session, job_id))


def retry_job(session: Session, job_id: str) -> Job:
    """Queue a failed or cancelled job again; units that have a result are not run again.

    Raises:
        NotFoundError: no such job.
        ConflictError: it is queued, running or paused, or it succeeded.
    """
    return _document(session, _engine(session).retry(session, job_id))


def _engine(session: Session) -> AbstractJobEngine:
    return SqlJobEngine(Database.of(session))


def _refuse_needless_rounding(request: SubmitSensitivity) -> None:
    """The rounding method is part of a cell's identity, so it is one where it does not count."""
    rounds = get_facts(request.probe).formats is FormatFamily.WEIGHTS
    if not rounds and request.rounding != RTN.name:
        msg = f"the probe {request.probe} rounds no weights: leave rounding out"
        raise InvalidRequestError(msg)


def _calibration(session: Session, request: SubmitSensitivity) -> str | None:
    if get_facts(request.probe).needs_calibration:
        what = f"probe {request.probe!r}"
    elif get_rounding_facts(request.rounding).needs_inputs:
        what = f"rounding method {request.rounding!r}"
    else:
        return None
    if request.calibration is None:
        msg = f"{what} runs on text: name a calibration set (bitplan calibrations add, or POST /v1/calibrations)"
        raise InvalidRequestError(msg)
    return find_calibration(session, request.calibration).id


def _refuse_too_many_products(session: Session, payload: dict[str, Any], setting: ProbeSetting) -> None:
    sequences = session.get_one(CalibrationSetRow, payload["calibration_id"]).sequences
    draws = int(setting.parameters["draws"])
    refuse_too_many(layers=len(payload["layers"]), formats=len(payload["formats"]), sequences=sequences, draws=draws)


def _document(session: Session, job: Snapshot, workers: Sequence[SeenWorker] | None = None) -> Job:
    if workers is None and job.state is JobState.QUEUED:
        workers = _engine(session).list_workers(session)
    pace = _engine(session).pace(session, job) if job.state is JobState.RUNNING else Pace(_average(job), None)
    return Job(
        id=job.id,
        kind=job.kind,
        model=job.model_id,
        state=job.state,
        done=job.done,
        total=job.total,
        failed=job.failed,
        failures=_failures(session, job),
        rate=pace.rate,
        eta_seconds=pace.eta_seconds,
        forecast_seconds=job.terms.forecast_seconds,
        waits_for=waits_for(job, workers or ()),
        reason=job.reason,
        priority=job.terms.priority,
        label=job.terms.label,
        memory_bytes=job.terms.memory_bytes,
        request={name: value for name, value in job.payload.items() if name != FOR_WORKERS},
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def _failures(session: Session, job: Snapshot) -> list[UnitFailure]:
    if not job.failed:
        return []
    found = _engine(session).failures(session, job, limit=_SHOWN_FAILURES)
    return [UnitFailure(unit=unit.key, reason=unit.reason, attempts=unit.attempts) for unit in found]


def _average(job: Snapshot) -> float | None:
    """Units per second over the whole life of a job that has ended."""
    if job.started_at is None or job.finished_at is None or not job.done:
        return None
    seconds = (job.finished_at - job.started_at).total_seconds()
    return job.done / seconds if seconds > 0 else None
