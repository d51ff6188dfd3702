"""Units of several jobs at once, a few of each: those that finished last, and the first that failed."""

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.elements import UnaryExpression

from planner.jobs.job import FailedUnit, Job, JobState, Pace
from planner.storage.tables import UnitRow

_PACE_UNITS = 20
_JOBS_AT_ONCE = 100  # SQLite takes 500 parts


def paces(session: Session, jobs: Collection[Job]) -> dict[str, Pace]:
    """Rate of each job over its last units, from the end of the first of them; with one unit, from the start of the job."""
    columns = (UnitRow.job_id, UnitRow.finished_at)
    latest = UnitRow.finished_at.desc()
    ends: defaultdict[str, list[datetime]] = defaultdict(list)
    for job, finished_at in _of_each(session, jobs, JobState.SUCCEEDED, columns, order=latest, limit=_PACE_UNITS):
        if finished_at is not None:
            ends[job].append(finished_at)
    return {job.id: _pace(job, sorted(ends[job.id])) for job in jobs}


def failures(session: Session, jobs: Collection[Job], *, limit: int) -> dict[str, list[FailedUnit]]:
    """The first units of each job that failed for good, by the job's id; jobs without one are left out."""
    columns = (UnitRow.job_id, UnitRow.id, UnitRow.key, UnitRow.reason, UnitRow.attempts)
    failed = [job for job in jobs if job.failed]
    rows = _of_each(session, failed, JobState.FAILED, columns, order=UnitRow.id.asc(), limit=limit)
    found: defaultdict[str, list[FailedUnit]] = defaultdict(list)
    for job, _, key, reason, attempts in sorted(rows, key=lambda row: int(row[1])):
        found[job].append(FailedUnit(key, reason or "", attempts))
    return dict(found)


def _of_each(
    session: Session,
    jobs: Collection[Job],
    state: JobState,
    columns: tuple[InstrumentedAttribute[Any], ...],
    *,
    order: UnaryExpression[Any],
    limit: int,
) -> list[Row[*tuple[Any, ...]]]:
    """So many units in a state of each job; one query for a hundred jobs.

    Each job has a part of its own in the query: with an index in that order it reads so many units, however many there are.
    """
    ids = sorted(job.id for job in jobs)
    found: list[Row[*tuple[Any, ...]]] = []
    for at in range(0, len(ids), _JOBS_AT_ONCE):
        parts = [
            select(*columns).where(UnitRow.job_id == job, UnitRow.state == state.value).order_by(order).limit(limit).subquery()
            for job in ids[at : at + _JOBS_AT_ONCE]
        ]
        found += session.execute(union_all(*(select(part) for part in parts))).all()
    return found


def _pace(job: Job, ends: list[datetime]) -> Pace:
    start = ends[0] if len(ends) > 1 else job.started_at
    rate = None
    if ends and start is not None and ends[-1] > start:
        rate = max(len(ends) - 1, 1) / (ends[-1] - start).total_seconds()
    if job.state.is_final:
        return Pace(rate, 0.0)
    return Pace(rate, None if rate is None or job.total is None else (job.total - job.done - job.failed) / rate)
