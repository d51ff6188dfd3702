"""Rows of workers: heartbeats, and what each worker holds a lease of; every function runs inside the caller's transaction."""

from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from planner.jobs.engine import Step
from planner.jobs.job import JobState
from planner.jobs.rows import UNFINISHED
from planner.jobs.workers import SeenWorker, WorkerProfile, WorkerState
from planner.storage.tables import JobRow, UnitRow, WorkerRow

_REMEMBERED = timedelta(days=1)


def note(session: Session, worker: WorkerProfile, *, draining: bool, lease_seconds: float, now: datetime) -> None:
    """The worker is there: its row, made at its first heartbeat."""
    row = session.get(WorkerRow, worker.id)
    if row is None:
        row = WorkerRow(
            id=worker.id,
            host=worker.host,
            pid=worker.pid,
            kinds=sorted(worker.kinds),
            labels=sorted(worker.labels),
            memory_bytes=worker.memory_bytes,
            started_at=now,
        )
        session.add(row)
    row.last_seen, row.lease_seconds = now, lease_seconds
    row.draining, row.stopped_at = draining, None


def say_goodbye(session: Session, worker: WorkerProfile, now: datetime) -> None:
    """The worker stops; nothing if nobody remembers it."""
    row = session.get(WorkerRow, worker.id)
    if row is not None:
        row.last_seen = row.stopped_at = now


def forget_workers(session: Session, now: datetime) -> None:
    """Drop the rows of workers that have not been heard of for a day."""
    session.execute(delete(WorkerRow).where(WorkerRow.last_seen < now - _REMEMBERED))


def seen_workers(session: Session, now: datetime) -> list[SeenWorker]:
    """All rows, the last heard of first, each with the lease that it holds."""
    rows = session.scalars(select(WorkerRow).order_by(WorkerRow.last_seen.desc(), WorkerRow.id)).all()
    held = _held(session)
    return [_seen(row, held.get(row.id), now) for row in rows]


def _held(session: Session) -> dict[str, tuple[str, str, str | None]]:
    """Worker → job, step and unit of its lease."""
    of_jobs = select(JobRow.lease_owner, JobRow.id, JobRow.total).where(
        JobRow.state.in_(UNFINISHED), JobRow.lease_token.is_not(None)
    )
    of_units = (
        select(UnitRow.lease_owner, UnitRow.job_id, UnitRow.key)
        .join(JobRow, JobRow.id == UnitRow.job_id)
        .where(JobRow.finished_at.is_(None), UnitRow.state == JobState.RUNNING.value)
    )
    held: dict[str, tuple[str, str, str | None]] = {}
    for owner, job, total in session.execute(of_jobs):
        held[owner or ""] = (job, str(Step.ENUMERATE if total is None else Step.FINISH), None)
    for owner, job, key in session.execute(of_units):
        held[owner or ""] = (job, str(Step.UNIT), key)
    return held


def _seen(row: WorkerRow, held: tuple[str, str, str | None] | None, now: datetime) -> SeenWorker:
    profile = WorkerProfile(row.id, row.kinds, frozenset(row.labels), row.memory_bytes, row.host, row.pid)
    state = WorkerState.BUSY if held else WorkerState.IDLE
    if row.stopped_at is not None:
        state = WorkerState.STOPPED
    elif abs(now - row.last_seen) > timedelta(seconds=row.lease_seconds):
        state = WorkerState.LOST
    elif row.draining:
        state = WorkerState.DRAINING
    job, step, unit = held or (None, None, None)
    return SeenWorker(profile, state, row.started_at, row.last_seen, job, step, unit)
