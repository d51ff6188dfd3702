"""Which step a worker gets: one free row, locked while its lease is written."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, and_, or_, select
from sqlalchemy.orm import Session

from planner.jobs.engine import Lease, Step, UnitSpec
from planner.jobs.job import JobState
from planner.jobs.rows import ACTIVE, bury, doable, end, let_go, locked, snapshot
from planner.jobs.workers import WorkerProfile
from planner.storage.tables import JobRow, UnitRow


@dataclass(frozen=True, slots=True)
class Claims:
    """Rules of leases.

    Attributes:
        lease_seconds: how long a worker may be silent.
        max_attempts: how often a step is begun.
        backoff_seconds: wait after the first failure; doubles with each, up to ``lease_seconds``.
    """

    lease_seconds: float
    max_attempts: int
    backoff_seconds: float

    def claim(self, session: Session, job: JobRow, worker: WorkerProfile, now: datetime) -> Lease | None:
        """A lease on the next step of a job, or ``None`` if it has none to give right now."""
        if job.total is None or job.done + job.failed >= job.total:
            return self._claim_job(session, job, worker, now)
        if self._bury_poison(session, job, now):
            return None
        return self._claim_unit(session, job, worker.id, now)

    def postpone(self, row: JobRow | UnitRow, reason: str, now: datetime) -> None:
        """Let a step rest after a failed attempt: nobody can claim it before its ``lease_until``."""
        wait = min(self.backoff_seconds * 2.0 ** (row.attempts - 1), self.lease_seconds)
        if isinstance(row, UnitRow):
            row.state = JobState.QUEUED.value
        let_go(row)
        row.reason, row.lease_until = reason, now + timedelta(seconds=wait)

    def _claim_job(self, session: Session, seen: JobRow, worker: WorkerProfile, now: datetime) -> Lease | None:
        """Enumerate or finish, if nobody does."""
        query = select(JobRow).where(JobRow.id == seen.id, doable(worker), self._free(JobRow, now))
        job: JobRow | None = session.scalars(locked(query, skip=True)).one_or_none()
        if job is None or (job.total is not None and job.done + job.failed < job.total):
            return None
        step = Step.ENUMERATE if job.total is None else Step.FINISH
        if job.attempts >= self.max_attempts:
            said = f"; before, it said: {job.reason}" if job.reason else ""
            end(job, JobState.FAILED, f"the worker died in the step '{step}', attempt {job.attempts}{said}", now)
            return None
        job.state, job.started_at = JobState.RUNNING.value, job.started_at or now
        lease = Lease(step, snapshot(job), None, uuid.uuid4().hex, worker.id)
        self._grant(job, lease, now)
        return lease

    def _claim_unit(self, session: Session, job: JobRow, worker_id: str, now: datetime) -> Lease | None:
        """The first unit by key (they were inserted in that order) that nobody has; before all, one whose worker fell silent."""
        of_job = select(UnitRow).where(UnitRow.job_id == job.id).order_by(UnitRow.id).limit(1)
        if job.sequential:
            first = select(UnitRow.id).where(UnitRow.job_id == job.id, UnitRow.state.in_(ACTIVE)).order_by(UnitRow.id).limit(1)
            of_job = of_job.where(UnitRow.id == first.scalar_subquery())
        unit = self._free_unit(session, of_job.where(UnitRow.state == JobState.RUNNING.value), now)
        unit = unit or self._free_unit(session, of_job.where(UnitRow.state == JobState.QUEUED.value), now)
        if unit is None:
            return None
        unit.state = JobState.RUNNING.value
        lease = Lease(Step.UNIT, snapshot(job), UnitSpec(unit.key, unit.payload), uuid.uuid4().hex, worker_id)
        self._grant(unit, lease, now)
        return lease

    def _free_unit(self, session: Session, query: Select[UnitRow], now: datetime) -> UnitRow | None:
        unit: UnitRow | None = session.scalars(locked(query.where(self._free(UnitRow, now)), skip=True)).one_or_none()
        return unit

    def _bury_poison(self, session: Session, seen: JobRow, now: datetime) -> bool:
        """Fail a unit whose workers died too often, so that every job reaches an end."""
        poison = and_(
            UnitRow.job_id == seen.id,
            UnitRow.state == JobState.RUNNING.value,
            UnitRow.attempts >= self.max_attempts,
            self._free(UnitRow, now),
        )
        if session.scalar(select(UnitRow.id).where(poison).limit(1)) is None:
            return False
        job: JobRow | None = session.scalars(locked(select(JobRow).where(JobRow.id == seen.id), skip=True)).one_or_none()
        unit: UnitRow | None = session.scalars(locked(select(UnitRow).where(poison).limit(1), skip=True)).one_or_none()
        if job is not None and unit is not None:
            bury(job, unit, f"its worker died {unit.attempts} times; it may need more memory than the machine has", now)
        return True

    def _free(self, table: type[JobRow | UnitRow], now: datetime) -> ColumnElement[bool]:
        """Nobody holds a lease on the row, and no backoff runs."""
        farthest = now + timedelta(seconds=2 * self.lease_seconds)
        return or_(table.lease_until.is_(None), table.lease_until < now, table.lease_until > farthest)

    def _grant(self, row: JobRow | UnitRow, lease: Lease, now: datetime) -> None:
        row.attempts += 1
        row.lease_token, row.lease_owner = lease.token, lease.worker_id[:100]
        row.lease_until = now + timedelta(seconds=self.lease_seconds)
