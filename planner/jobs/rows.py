"""What happens to a job's and a unit's row; every function runs inside the caller's transaction."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Select, and_, or_, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import ObjectDeletedError

from planner.errors import NotFoundError
from planner.jobs.arrays import unpack
from planner.jobs.engine import Lease, Step
from planner.jobs.errors import LeaseLostError
from planner.jobs.job import Job, JobState, Terms
from planner.jobs.workers import WorkerProfile
from planner.storage.job_summaries import LEFT_OUT
from planner.storage.tables import JobRow, UnitRow

ACTIVE = (JobState.QUEUED.value, JobState.RUNNING.value)
UNFINISHED = tuple(state.value for state in JobState if not state.is_final)
ENDED = tuple(state.value for state in JobState if state.is_final)
_HOPELESS_UNITS = 10


def snapshot(row: JobRow) -> Job:
    """The row as a frozen value.

    Raises:
        NotFoundError: the job was deleted after the row was read.
    """
    return _snapshot(row, payload_of(row), {})


def payload_of(row: JobRow) -> Mapping[str, Any]:
    """What the job was told, read now if it was not with the row.

    Raises:
        NotFoundError: the job was deleted after the row was read.
    """
    try:
        return row.payload
    except ObjectDeletedError as error:
        raise _missing(row.id) from error


def brief(row: JobRow) -> Job:
    """The row as a frozen value without the long tables of its payload, which are not read."""
    short = dict(row.summary)
    return _snapshot(row, short, short.pop(LEFT_OUT, {}))


def _snapshot(row: JobRow, payload: Mapping[str, Any], left_out: Mapping[str, int]) -> Job:
    return Job(
        id=row.id,
        kind=row.kind,
        model_id=row.model_id,
        payload=payload,
        state=JobState(row.state),
        terms=Terms(row.priority, row.label, row.memory_bytes, row.sequential, row.forecast_seconds),
        reason=row.reason,
        total=row.total,
        done=row.done,
        failed=row.failed,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        left_out=left_out,
    )


def doable(worker: WorkerProfile) -> ColumnElement[bool]:
    """Jobs that wait for work which the worker can do."""
    waits = and_(JobRow.state.in_(ACTIVE), JobRow.kind.in_(sorted(worker.kinds)))
    labelled = or_(JobRow.label.is_(None), JobRow.label.in_(sorted(worker.labels)))
    if worker.memory_bytes is None:
        return and_(waits, labelled)
    return and_(waits, labelled, or_(JobRow.memory_bytes.is_(None), JobRow.memory_bytes <= worker.memory_bytes))


def locked(query: Select[Any], *, skip: bool = False) -> Select[Any]:
    """The query, locking what it reads and reading what it locks (SQLite's write session is a lock already)."""
    return query.with_for_update(skip_locked=skip, key_share=True).execution_options(populate_existing=True)


def find_job(session: Session, job_id: str, *, lock: bool = False) -> JobRow:
    """The row of a job, locked if asked.

    Raises:
        NotFoundError: no such job.
    """
    query = select(JobRow).where(JobRow.id == job_id)
    row: JobRow | None = session.scalars(locked(query) if lock else query).one_or_none()
    if row is None:
        raise _missing(job_id)
    return row


def results_of(session: Session, job_id: str) -> list[tuple[str, NDArray[np.float64]]]:
    """What the units of a job that succeeded found so far, in the order of keys."""
    done = select(UnitRow.key, UnitRow.result).where(UnitRow.job_id == job_id, UnitRow.state == JobState.SUCCEEDED.value)
    return sorted(((key, unpack(packed or b"")) for key, packed in session.execute(done)), key=lambda item: item[0])


def held(lease: Lease) -> tuple[type[JobRow | UnitRow], ColumnElement[bool]]:
    """Table and condition of the row that the lease still holds."""
    if lease.unit is None:
        return JobRow, and_(JobRow.id == lease.job.id, JobRow.lease_token == lease.token)
    return UnitRow, and_(UnitRow.job_id == lease.job.id, UnitRow.key == lease.unit.key, UnitRow.lease_token == lease.token)


def hold_job(session: Session, lease: Lease) -> JobRow:
    """The job's row, locked, if the lease holds it.

    Raises:
        LeaseLostError: it does not.
    """
    row: JobRow | None = session.scalars(locked(select(JobRow).where(held(lease)[1]))).one_or_none()
    if row is None:
        raise _lost(lease)
    return row


def hold_unit(session: Session, lease: Lease) -> tuple[JobRow, UnitRow]:
    """The job's row and the unit's, locked in this order, if the lease holds the unit.

    Raises:
        LeaseLostError: it does not.
    """
    job: JobRow | None = session.scalars(locked(select(JobRow).where(JobRow.id == lease.job.id))).one_or_none()
    unit: UnitRow | None = session.scalars(locked(select(UnitRow).where(held(lease)[1]))).one_or_none()
    if job is None or unit is None:
        raise _lost(lease)
    return job, unit


def let_go(row: JobRow | UnitRow) -> None:
    """End the lease on the row; its token fences off who held it."""
    row.lease_token, row.lease_owner, row.lease_until = None, None, None


def end(job: JobRow, state: JobState, reason: str | None, now: datetime) -> None:
    """Bring a job to a final state; who enumerates or finishes it is fenced off."""
    job.state, job.reason, job.finished_at = state.value, reason, now
    let_go(job)


def bury(job: JobRow, unit: UnitRow, reason: str, now: datetime, *, permanent: bool = False) -> None:
    """Fail a unit for good. The others go on, unless they cannot do better: then the job fails, if it has not ended already."""
    unit.state, unit.reason, unit.finished_at = JobState.FAILED.value, reason, now
    let_go(unit)
    job.failed += 1
    hopeless = job.done == 0 and job.failed >= min(job.total or 0, _HOPELESS_UNITS)
    if job.state in UNFINISHED and (permanent or hopeless or job.sequential):
        end(job, JobState.FAILED, f"unit {unit.key}: {reason}", now)


def _missing(job_id: str) -> NotFoundError:
    return NotFoundError(f"no job {job_id!r}; `bitplan jobs` and GET /v1/jobs list them", job=job_id)


def _lost(lease: Lease) -> LeaseLostError:
    what = f"step '{lease.step}'" if lease.step is not Step.UNIT or lease.unit is None else f"unit {lease.unit.key}"
    msg = f"the lease on {what} of job {lease.job.id} is lost: another worker took it over, or the job was stopped or deleted"
    return LeaseLostError(msg, job=lease.job.id)
