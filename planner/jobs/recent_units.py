"""Units of several jobs at once, a few of each: those that finished last, and the first that failed."""

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.elements import UnaryExpression

from planner.jobs.job import FailedUnit, Job, JobState, Pace
from planner.storage.tables import UnitRow

_PACE_UNITS = 20


def paces(session: Session, jobs: Collection[Job]) -> dict[str, Pace]:
    """Rate of each job over its last units, from the end of the first of them; with one unit, from the start of the job."""
    columns = (UnitRow.job_id, UnitRow.finished_at)
    newest = _of_each(jobs, JobState.SUCCEEDED, columns, order=UnitRow.finished_at.desc(), limit=_PACE_UNITS)
    ends: defaultdict[str, list[datetime]] = defaultdict(list)
    for job, finished_at in session.execute(newest) if jobs else ():
        if finished_at is not None:
            ends[job].append(finished_at)
    return {job.id: _pace(job, sorted(ends[job.id])) for job in jobs}


def failures(session: Session, jobs: Collection[Job], *, limit: int) -> dict[str, list[FailedUnit]]:
    """The first units of each job that failed for good, by the job's id; jobs without one are left out."""
    columns = (UnitRow.job_id, UnitRow.id, UnitRow.key, UnitRow.reason, UnitRow.attempts)
    failed = [job for job in jobs if job.failed]
    first = _of_each(failed, JobState.FAILED, columns, order=UnitRow.id.asc(), limit=limit)
    found: defaultdict[str, list[FailedUnit]] = defaultdict(list)
    rows = session.execute(first).all() if failed else ()
    for job, _, key, reason, attempts in sorted(rows, key=lambda row: int(row[1])):
        found[job].append(FailedUnit(key, reason or "", attempts))
    return dict(found)


def _of_each(
    jobs: Collection[Job],
    state: JobState,
    columns: tuple[InstrumentedAttribute[Any], ...],
    *,
    order: UnaryExpression[Any],
    limit: int,
) -> Select[Any]:
    """So many units in a state of each job, in one query."""
    number = func.row_number().over(partition_by=UnitRow.job_id, order_by=order).label("number")
    ids = sorted(job.id for job in jobs)
    numbered = select(*columns, number).where(UnitRow.job_id.in_(ids), UnitRow.state == state.value).subquery()
    return select(*(numbered.c[column.key] for column in columns)).where(numbered.c.number <= limit)


def _pace(job: Job, ends: list[datetime]) -> Pace:
    start = ends[0] if len(ends) > 1 else job.started_at
    rate = None
    if ends and start is not None and ends[-1] > start:
        rate = max(len(ends) - 1, 1) / (ends[-1] - start).total_seconds()
    if job.state.is_final:
        return Pace(rate, 0.0)
    return Pace(rate, None if rate is None or job.total is None else (job.total - job.done - job.failed) / rate)
