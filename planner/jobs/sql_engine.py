"""The thin engine: job and unit rows with leases and fencing tokens, on SQLite and PostgreSQL.

Claiming takes one row: ``FOR UPDATE SKIP LOCKED`` on PostgreSQL, ``BEGIN IMMEDIATE`` (every write session) on SQLite. Recording
locks the job's row, then the unit's, always in this order, and only if the token in the row is still the lease's.

Times are the database's clock, one for all workers. When that clock jumps, work may be redone but is never recorded twice:
forwards, leases end early; backwards, a lease that reaches further than two lease times ahead is none that anybody can hold, so
it counts as ended. All workers of a database must use one ``lease_seconds``.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import exists, insert, select, tuple_, update
from sqlalchemy.orm import Session

from planner.errors import ConflictError
from planner.jobs import recent_units
from planner.jobs.arrays import pack
from planner.jobs.claims import Claims
from planner.jobs.engine import AbstractJobEngine, Lease, Reduce, Step, UnitSpec
from planner.jobs.errors import PermanentError
from planner.jobs.job import USUAL_TERMS, FailedUnit, Job, JobState, Pace, Terms
from planner.jobs.presence import forget_workers, note, say_goodbye, seen_workers
from planner.jobs.retention import begin_anew_if_purged, purge_some
from planner.jobs.rows import brief, bury, doable, end, find_job, held, hold_job, hold_unit, let_go, results_of, snapshot
from planner.jobs.workers import SeenWorker, WorkerProfile
from planner.storage.database import Database
from planner.storage.tables import JobRow, UnitRow

_KEY_LENGTH = 100


class SqlJobEngine(AbstractJobEngine):
    """See the module's text."""

    def __init__(
        self, database: Database, *, lease_seconds: float = 60.0, max_attempts: int = 3, backoff_seconds: float = 1.0
    ) -> None:
        """An engine on an upgraded database.

        Args:
            database: where the jobs are.
            lease_seconds: a worker that is silent for so long loses its step to another.
            max_attempts: a step that failed, or whose worker died, so often has failed for good.
            backoff_seconds: wait after the first failure; doubles with each, up to ``lease_seconds``.
        """
        self.database = database
        self.lease_seconds = lease_seconds
        self._claims = Claims(lease_seconds, max_attempts, backoff_seconds)

    def submit(
        self, session: Session, *, kind: str, model_id: str, payload: Mapping[str, Any], terms: Terms = USUAL_TERMS
    ) -> Job:
        """Queue a job."""
        row = JobRow(id=uuid.uuid4().hex, kind=kind, model_id=model_id, payload=dict(payload), **asdict(terms))
        row.created_at = self.database.now(session)
        session.add(row)
        session.flush()
        return snapshot(row)

    def get(self, session: Session, job_id: str) -> Job:
        """One job."""
        return snapshot(find_job(session, job_id))

    def get_brief(self, session: Session, job_id: str) -> Job:
        """One job without the long tables of its payload."""
        return brief(find_job(session, job_id))

    def list_jobs(
        self,
        session: Session,
        *,
        model_id: str | None = None,
        states: Collection[JobState] = (),
        limit: int = 50,
        after: Job | None = None,
    ) -> list[Job]:
        """Jobs, newest first."""
        query = select(JobRow).order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(limit)
        if model_id is not None:
            query = query.where(JobRow.model_id == model_id)
        if states:
            query = query.where(JobRow.state.in_([state.value for state in states]))
        if after is not None:
            query = query.where(tuple_(JobRow.created_at, JobRow.id) < (after.created_at, after.id))
        return [brief(row) for row in session.scalars(query)]

    def paces(self, session: Session, jobs: Collection[Job]) -> dict[str, Pace]:
        """Rate over the last units, from the end of the first of them; with one unit, from the start of the job."""
        return recent_units.paces(session, jobs)

    def failures(self, session: Session, jobs: Collection[Job], *, limit: int) -> dict[str, list[FailedUnit]]:
        """The first units that failed for good."""
        return recent_units.failures(session, jobs, limit=limit)

    def pause(self, session: Session, job_id: str) -> Job:
        """Begin no further unit."""
        job = _unfinished(session, job_id, "paused")
        job.state = JobState.PAUSED.value
        session.flush()
        return snapshot(job)

    def resume(self, session: Session, job_id: str) -> Job:
        """Let a paused job go on."""
        job = _unfinished(session, job_id, "resumed")
        if job.state == JobState.PAUSED:
            job.state = (JobState.QUEUED if job.started_at is None else JobState.RUNNING).value
        session.flush()
        return snapshot(job)

    def cancel(self, session: Session, job_id: str) -> Job:
        """Stop a job before its next unit."""
        job = find_job(session, job_id, lock=True)
        if job.state in (JobState.SUCCEEDED, JobState.FAILED):
            msg = f"job {job_id} has {job.state} already; only a job that has not ended can be cancelled"
            raise ConflictError(msg, state=str(job.state))
        if job.state != JobState.CANCELLED:
            end(job, JobState.CANCELLED, None, self.database.now(session))
        session.flush()
        return snapshot(job)

    def retry(self, session: Session, job_id: str) -> Job:
        """Queue a failed or cancelled job again."""
        job = find_job(session, job_id, lock=True)
        if job.state not in (JobState.FAILED, JobState.CANCELLED):
            msg = f"job {job_id} is {job.state}; only a failed or cancelled job can be tried again"
            raise ConflictError(msg, state=str(job.state))
        begin_anew_if_purged(session, job)
        idle = UnitRow.state.in_([JobState.FAILED.value, JobState.QUEUED.value])
        fresh = {"state": JobState.QUEUED.value, "attempts": 0, "reason": None, "lease_until": None, "finished_at": None}
        session.execute(update(UnitRow).where(UnitRow.job_id == job_id, idle).values(fresh))
        running = UnitRow.state == JobState.RUNNING.value  # by a worker that holds its lease still, or died
        session.execute(update(UnitRow).where(UnitRow.job_id == job_id, running).values(attempts=1))
        let_go(job)
        job.state = (JobState.QUEUED if job.total is None else JobState.RUNNING).value
        job.reason, job.finished_at, job.failed, job.attempts = None, None, 0, 0
        session.flush()
        return snapshot(job)

    def has_work(self, worker: WorkerProfile) -> bool:
        """Whether any job that the worker can do is queued or running; takes no lock."""
        with self.database.read_session() as session:
            return bool(session.scalar(select(exists().where(doable(worker)))))

    def claim(self, worker: WorkerProfile) -> Lease | None:
        """The next step, of the job that is first by priority and age and has one to give."""
        if not self.has_work(worker):
            return None
        with self.database.session() as session:
            now = self.database.now(session)
            query = select(JobRow.id).where(doable(worker)).order_by(JobRow.priority, JobRow.created_at, JobRow.id)
            for job_id in session.scalars(query).all():
                job = session.get(JobRow, job_id)  # one by one: payloads are long, and the first job mostly has a step
                lease = self._claims.claim(session, job, worker, now) if job is not None else None
                if lease is not None:
                    return lease
        return None

    def extend(self, lease: Lease) -> bool:
        """Heartbeat."""
        table, condition = held(lease)
        with self.database.session() as session:
            until = self.database.now(session) + timedelta(seconds=self.lease_seconds)
            extended = session.scalar(update(table).where(condition).values(lease_until=until).returning(table.id))
            return extended is not None

    def release(self, lease: Lease) -> None:
        """Give a step back."""
        table, condition = held(lease)
        values: dict[str, Any] = {"lease_token": None, "lease_owner": None, "lease_until": None}
        if lease.step is Step.UNIT:
            values["state"] = JobState.QUEUED.value
        with self.database.session() as session:
            session.execute(update(table).where(condition).values(attempts=table.attempts - 1, **values))

    def record_units(self, lease: Lease, units: Sequence[UnitSpec]) -> None:
        """All units, exactly once."""
        ordered = _checked(units)
        with self.database.session() as session:
            job = hold_job(session, lease)
            rows = [{"job_id": job.id, "key": unit.key, "payload": dict(unit.payload)} for unit in ordered]
            if rows:
                session.execute(insert(UnitRow), rows)
            job.total, job.attempts, job.reason = len(rows), 0, None
            let_go(job)

    def record_result(self, lease: Lease, result: NDArray[np.float64], *, seconds: float) -> None:
        """Result, completion and count, in one transaction."""
        packed = pack(result)
        with self.database.session() as session:
            job, unit = hold_unit(session, lease)
            unit.state, unit.result, unit.seconds, unit.reason = JobState.SUCCEEDED.value, packed, seconds, None
            unit.finished_at = self.database.now(session)
            job.done += 1
            job.unit_seconds += seconds
            let_go(unit)

    def finish(self, lease: Lease, reduce: Reduce) -> None:
        """Reduce and succeed, in one transaction; the lock on the job's row is the lease meanwhile."""
        with self.database.session() as session:
            job = hold_job(session, lease)
            reduce(session, snapshot(job), results_of(session, job.id))
            end(job, JobState.SUCCEEDED, self._note(session, job), self.database.now(session))

    def fail(self, lease: Lease, reason: str, *, permanent: bool) -> None:
        """Try again later, or fail the unit, or the job."""
        with self.database.session() as session:
            now = self.database.now(session)
            job, unit = hold_unit(session, lease) if lease.step is Step.UNIT else (hold_job(session, lease), None)
            row = unit or job
            if not permanent and row.attempts < self._claims.max_attempts:
                self._claims.postpone(row, reason, now)
                return
            if not permanent:
                reason = f"{reason} (tried {row.attempts} times)"
            if unit is None:
                end(job, JobState.FAILED, reason, now)
            else:
                bury(job, unit, reason, now, permanent=permanent)

    def beat(self, worker: WorkerProfile, *, draining: bool) -> None:
        """A worker is there."""
        with self.database.session() as session:
            note(session, worker, draining=draining, lease_seconds=self.lease_seconds, now=self.database.now(session))

    def leave(self, worker: WorkerProfile) -> None:
        """A worker goes."""
        with self.database.session() as session:
            say_goodbye(session, worker, self.database.now(session))

    def list_workers(self, session: Session) -> list[SeenWorker]:
        """Workers, the last heard of first."""
        return seen_workers(session, self.database.now(session))

    def purge(self, *, older_than: timedelta) -> int:
        """Forget units of old jobs, and workers that went long ago; a few units at a time, each time in a transaction."""
        gone = 0
        with self.database.session() as session:
            now = self.database.now(session)
            forget_workers(session, now)
        while True:
            with self.database.session() as session:
                some = purge_some(session, before=now - older_than)
            if not some:
                return gone
            gone += some

    def _note(self, session: Session, job: JobRow) -> str | None:
        """What is worth knowing of a job that succeeded although units failed."""
        if not job.failed:
            return None
        first = self.failures(session, [brief(job)], limit=1).get(job.id)
        said = f"; the first of them, unit {first[0].key}: {first[0].reason}" if first else ""
        return f"{job.failed} of {job.total} units failed{said}"


def _unfinished(session: Session, job_id: str, what: str) -> JobRow:
    """The job's row, locked; ``ConflictError`` if it has ended."""
    job = find_job(session, job_id, lock=True)
    if JobState(job.state).is_final:
        msg = f"job {job_id} has {job.state} already; only a job that has not ended can be {what}"
        raise ConflictError(msg, state=str(job.state))
    return job


def _checked(units: Sequence[UnitSpec]) -> list[UnitSpec]:
    """The units in the order of keys."""
    ordered = sorted(units, key=lambda unit: unit.key)
    keys = [unit.key for unit in ordered]
    twice = next((key for key, following in pairwise(keys) if key == following), None)
    if twice is not None:
        msg = f"two units of the job have the key {twice!r}; correct the handler"
        raise PermanentError(msg)
    long = next((key for key in keys if not 0 < len(key) <= _KEY_LENGTH), None)
    if long is not None:
        msg = f"the unit key {long!r} is not 1 to {_KEY_LENGTH} characters long; correct the handler"
        raise PermanentError(msg)
    return ordered
