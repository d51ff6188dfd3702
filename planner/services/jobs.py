"""Jobs: what is worth queueing, how far it is, and how to stop it."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from planner.jobs.engine import AbstractJobEngine
from planner.jobs.job import USUAL_TERMS, FailedUnit, JobState, Pace, Terms
from planner.jobs.job import Job as Snapshot
from planner.jobs.rows import UNFINISHED, brief, end, payload_of, snapshot
from planner.jobs.sql_engine import SqlJobEngine
from planner.schemas.jobs import Job, JobPage, SubmitSensitivity, UnitFailure
from planner.services.job_drafts import Draft, draft_sensitivity
from planner.services.job_waiting import waits_for
from planner.services.pagination import page
from planner.services.planning_inputs import find_model
from planner.storage.database import Database
from planner.storage.job_summaries import summary_of
from planner.storage.tables import JobRow

FOR_WORKERS = "for_workers"
"""Part of a payload that documents leave out: long tables which tell people nothing."""

_SHOWN_FAILURES = 20


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
    return queue(session, draft_sensitivity(session, request, keep=True))


def queue(session: Session, draft: Draft) -> Job:
    """Queue a draft: the job that does the same and has not ended, if there is one; done at once if there is nothing to do."""
    kind, model, payload = draft.kind, draft.model_id, dict(draft.payload)
    if draft.nothing is not None:
        return submit_done(session, kind=kind, model_id=model, payload=payload, reason=draft.nothing)
    same = find_unfinished(session, kind=kind, model_id=model, payload=payload)
    return same or submit(session, kind=kind, model_id=model, payload=payload, terms=draft.terms)


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
    """The job that does exactly this and has not ended, if there is one, whatever memory it was forecast to take."""
    of_model = JobRow.model_id == model_id
    query = select(JobRow).where(of_model, JobRow.kind == kind, JobRow.state.in_(UNFINISHED))
    task, summary = _task(payload), _task(summary_of(payload))
    alike = (row for row in session.scalars(query).all() if _task(row.summary) == summary)
    same = next((row for row in alike if _task(payload_of(row)) == task), None)
    return None if same is None else _document(session, snapshot(same))


def _task(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What a job is to do: without the forecast of its memory, which another version of bitplan makes otherwise."""
    return {name: value for name, value in payload.items() if name != "memory"}


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
    """Jobs, newest first, of one model or in one state if asked for; their requests without long tables.

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
    return JobPage(items=_documents(session, [brief(row[0]) for row in rows]), next=following)


def get_brief_job(session: Session, job_id: str) -> Job:
    """A job and how far it is, as a list has it: its request without long tables.

    Raises:
        NotFoundError: no such job.
    """
    return _document(session, _engine(session).get_brief(session, job_id))


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


def _document(session: Session, job: Snapshot) -> Job:
    (document,) = _documents(session, [job])
    return document


def _documents(session: Session, found: Sequence[Snapshot]) -> list[Job]:
    """Jobs with what is known of their workers and units: as many queries for all of them as for one."""
    engine = _engine(session)
    workers = engine.list_workers(session) if any(job.state is JobState.QUEUED for job in found) else []
    paces = engine.paces(session, [job for job in found if job.state is JobState.RUNNING])
    failed = engine.failures(session, found, limit=_SHOWN_FAILURES)
    return [
        _shown(job, paces.get(job.id) or Pace(_average(job), None), failed.get(job.id, ()), waits_for(job, workers))
        for job in found
    ]


def _shown(job: Snapshot, pace: Pace, failed: Sequence[FailedUnit], waiting: str | None) -> Job:
    return Job(
        id=job.id,
        kind=job.kind,
        model=job.model_id,
        state=job.state,
        done=job.done,
        total=job.total,
        failed=job.failed,
        failures=[UnitFailure(unit=unit.key, reason=unit.reason, attempts=unit.attempts) for unit in failed],
        rate=pace.rate,
        eta_seconds=pace.eta_seconds,
        forecast_seconds=job.terms.forecast_seconds,
        waits_for=waiting,
        reason=job.reason,
        priority=job.terms.priority,
        label=job.terms.label,
        memory_bytes=job.terms.memory_bytes,
        request={name: value for name, value in job.payload.items() if name != FOR_WORKERS},
        left_out={name: entries for name, entries in job.left_out.items() if name != FOR_WORKERS},
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def _average(job: Snapshot) -> float | None:
    """Units per second over the whole life of a job that has ended."""
    if job.started_at is None or job.finished_at is None or not job.done:
        return None
    seconds = (job.finished_at - job.started_at).total_seconds()
    return job.done / seconds if seconds > 0 else None
