"""Forgetting the units of jobs that ended long ago: their results went into cells and evaluations when the jobs were finished."""

from datetime import datetime

from sqlalchemy import delete, exists, func, select
from sqlalchemy.orm import Session

from planner.jobs.rows import ENDED, locked
from planner.storage.tables import JobRow, UnitRow

_UNITS_AT_ONCE = 500


def purge_some(session: Session, *, before: datetime) -> int:
    """Delete some units of a job that ended before a time; so few that no other writer waits long.

    The job's row is locked, so that nobody lets the job begin again meanwhile.

    Returns:
        How many; 0 if there are none left.
    """
    old = select(JobRow).where(JobRow.state.in_(ENDED), JobRow.finished_at < before, exists().where(UnitRow.job_id == JobRow.id))
    job: JobRow | None = session.scalars(locked(old.order_by(JobRow.finished_at).limit(1), skip=True)).one_or_none()
    if job is None:
        return 0
    some = select(UnitRow.id).where(UnitRow.job_id == job.id).order_by(UnitRow.id).limit(_UNITS_AT_ONCE)
    gone = session.scalars(delete(UnitRow).where(UnitRow.id.in_(some)).returning(UnitRow.id))
    return len(gone.all())


def begin_anew_if_purged(session: Session, job: JobRow) -> None:
    """Let a job whose units are not all there any more be listed again."""
    if job.total is None or session.scalar(select(func.count()).where(UnitRow.job_id == job.id)) == job.total:
        return
    session.execute(delete(UnitRow).where(UnitRow.job_id == job.id))
    job.total, job.done, job.unit_seconds = None, 0, 0.0
