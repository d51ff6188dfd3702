"""Figures that are read from the database when somebody asks for them: the queue, and what workers do.

The database has them for all processes, so every API process shows the same; sum over none of them.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from anyio import CapacityLimiter, move_on_after
from anyio.to_thread import run_sync
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import QueuePool
from sqlalchemy.orm import Session

from planner.errors import StorageError
from planner.jobs.job import JobState
from planner.jobs.workers import WorkerState
from planner.schemas.workers import Worker
from planner.services.job_progress import JobProgress, ended_jobs, progress_of, unfinished_jobs
from planner.services.workers import list_workers
from planner.storage.database import Database

KEPT_SECONDS = 5.0
PATIENCE_SECONDS = 3.0


@dataclass(slots=True)
class _Tally:
    """What happened to jobs from one reading to the next, added up since the first: counters that fall for no purge."""

    done: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    ended: Counter[tuple[str, JobState]] = field(default_factory=Counter)
    _known: dict[str, JobProgress] = field(default_factory=dict)
    _read_at: datetime | None = None

    def add(self, session: Session, unfinished: list[JobProgress], now: datetime) -> None:
        """Compare with the reading before; a job that is older than it and was not in it counts from now on."""
        current = {job.id: job for job in unfinished}
        ended = progress_of(session, self._known.keys() - current.keys())
        if self._read_at is not None:
            ended |= {job.id: job for job in ended_jobs(session, created_since=self._read_at)}
        for job in (current | ended).values():
            before = self._known.get(job.id)
            new = self._read_at is not None and job.created_at >= self._read_at
            done, failed = (before.done, before.failed) if before else (0, 0) if new else (job.done, job.failed)
            self.done[job.kind] += max(job.done - done, 0)
            self.failed[job.kind] += max(job.failed - failed, 0)
            if job.state.is_final:
                self.ended[job.kind, job.state] += 1
        self._known, self._read_at = current, now


@dataclass(frozen=True, slots=True)
class _Reading:
    unfinished: list[JobProgress]
    workers: list[Worker]
    now: datetime


class QueueCollector(Collector):
    """Jobs, units and workers of the database."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        """A collector that has read nothing yet.

        Args:
            database: where the jobs are.
            clock: seconds that only grow.
        """
        self._database = database
        self._clock = clock
        self._limiter = CapacityLimiter(1)  # a thread of its own: not behind the requests of a busy service
        self._at_work = threading.Lock()  # the limiter does not count a thread that nobody waits for any more
        self._tally = _Tally()
        self._reading: _Reading | None = None
        self._read_at = -math.inf

    async def refresh(self) -> None:
        """Read again, unless that was done ``KEPT_SECONDS`` ago.

        A database that does not answer within ``PATIENCE_SECONDS`` is waited for no longer.
        """
        with move_on_after(PATIENCE_SECONDS):
            await run_sync(self._refresh, limiter=self._limiter, abandon_on_cancel=True)

    def collect(self) -> Iterator[Metric]:
        """The figures as they were read last; if that is long ago, only that the database is away."""
        reading = self._reading if self._clock() - self._read_at < KEPT_SECONDS + 2 * PATIENCE_SECONDS else None
        up = GaugeMetricFamily("bitplan_database_up", "1 if the database answered.")
        up.add_metric([], 0 if reading is None else 1)
        yield up
        yield from self._counters()
        if reading is not None:
            yield from _job_gauges(reading)
            yield from _worker_gauges(reading)

    def _refresh(self) -> None:
        if self._clock() - self._read_at < KEPT_SECONDS or not self._at_work.acquire(blocking=False):
            return
        try:
            self._read()
        finally:
            self._at_work.release()

    def _read(self) -> None:
        try:
            with self._database.read_session() as session:
                now = self._database.now(session)
                reading = _Reading(unfinished_jobs(session), list_workers(session).items, now)
                self._tally.add(session, reading.unfinished, now)
        except StorageError:
            self._reading = None
        else:
            self._reading = reading
        self._read_at = self._clock()

    def _counters(self) -> Iterator[Metric]:
        for name, what, counts in (
            ("bitplan_units_done", "Units that succeeded, since this process looked first.", self._tally.done),
            ("bitplan_units_failed", "Units that failed for good, since this process looked first.", self._tally.failed),
        ):
            family = CounterMetricFamily(name, what, labels=["kind"])
            for kind, count in counts.items():
                family.add_metric([kind], count)
            yield family
        ended = CounterMetricFamily("bitplan_jobs_ended", "Jobs that ended, since this process looked.", labels=["kind", "state"])
        for (kind, state), count in self._tally.ended.items():
            ended.add_metric([kind, state.value], count)
        yield ended


def _job_gauges(reading: _Reading) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("bitplan_jobs", "Jobs that have not ended.", labels=["kind", "state"])
    for (kind, state), count in Counter((job.kind, job.state) for job in reading.unfinished).items():
        jobs.add_metric([kind, state.value], count)
    yield jobs
    waiting: Counter[str] = Counter()
    for job in reading.unfinished:
        waiting[job.kind] += job.waiting
    units = GaugeMetricFamily("bitplan_units_waiting", "Units of unfinished jobs that nobody has finished.", labels=["kind"])
    for kind, count in waiting.items():
        units.add_metric([kind], count)
    yield units
    queued = [job.created_at for job in reading.unfinished if job.state is JobState.QUEUED]
    oldest = GaugeMetricFamily("bitplan_oldest_queued_job_seconds", "How long the oldest job that no worker took is waiting.")
    oldest.add_metric([], max(0.0, (reading.now - min(queued)).total_seconds()) if queued else 0.0)
    yield oldest


def _worker_gauges(reading: _Reading) -> Iterator[Metric]:
    """Workers by state, and machines by their freshest heartbeat: names of workers are new with every process."""
    workers = GaugeMetricFamily("bitplan_workers", "Workers of the last day, by state.", labels=["state"])
    states = Counter(worker.state for worker in reading.workers)
    for state in WorkerState:
        workers.add_metric([state.value], states[state])
    yield workers
    ages: dict[str, float] = {}
    for worker in reading.workers:
        if worker.state is not WorkerState.STOPPED:
            age = max(0.0, (reading.now - worker.last_seen).total_seconds())
            ages[worker.host] = min(age, ages.get(worker.host, age))
    heartbeats = GaugeMetricFamily(
        "bitplan_worker_heartbeat_age_seconds",
        "Since the last heartbeat of any worker of a machine that has not said good-bye.",
        labels=["host"],
    )
    for host, age in ages.items():
        heartbeats.add_metric([host], age)
    yield heartbeats


class PoolCollector(Collector):
    """Connections of this process to the database."""

    def __init__(self, database: Database) -> None:
        """A collector of the database's pools."""
        self._pools = (database.engine.pool, database.reading.pool)

    def collect(self) -> Iterator[Metric]:
        """How many are in use, and how many lie ready."""
        pools = [pool for pool in self._pools if isinstance(pool, QueuePool)]  # ``Database`` makes no other
        family = GaugeMetricFamily("bitplan_database_connections", "Connections to the database.", labels=["state"])
        family.add_metric(["in_use"], sum(pool.checkedout() for pool in pools))
        family.add_metric(["idle"], sum(pool.checkedin() for pool in pools))
        yield family
