"""What a worker says of itself, which jobs it takes, and what it forgets now and then."""

import os
import socket
import threading
import time
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from planner.errors import StorageError
from planner.jobs.engine import Job, JobState, Terms, UnitSpec, WorkerProfile
from planner.jobs.handler import AbstractJobHandler
from planner.jobs.sql_engine import SqlJobEngine
from planner.jobs.workers import SeenWorker, WorkerState
from planner.settings import Settings
from planner.storage.database import Database
from planner.storage.tables import UnitRow
from planner.worker import loop
from planner.worker.loop import Worker
from planner.worker.memory import total_bytes
from planner.worker.process import make_worker
from tests.planner.storage.rows import add_model

KIND = "watched"


class Watched(AbstractJobHandler):
    """One unit, which looks at who is there."""

    def __init__(self, engine: SqlJobEngine) -> None:
        self.engine = engine
        self.seen: list[SeenWorker] = []

    def enumerate(self, job: Job) -> list[UnitSpec]:
        return [UnitSpec("a", {})]

    def run(self, job: Job, unit: UnitSpec) -> NDArray[np.float64]:
        self.seen = seen(self.engine)
        return np.zeros(1)

    def finish(self, session: Session, job: Job, results: Sequence[tuple[str, NDArray[np.float64]]]) -> None:
        """Nothing to write."""


def seen(engine: SqlJobEngine) -> list[SeenWorker]:
    with engine.database.read_session() as session:
        return engine.list_workers(session)


@pytest.fixture
def engine(database: Database) -> SqlJobEngine:
    return SqlJobEngine(database)


def submit(engine: SqlJobEngine, **terms: object) -> Job:
    model = add_model(engine.database)
    with engine.database.session() as session:
        return engine.submit(session, kind=KIND, model_id=model, payload={}, terms=Terms(**terms))  # type: ignore[arg-type]


def units_left(engine: SqlJobEngine) -> int | None:
    with engine.database.read_session() as session:
        return session.scalar(select(func.count()).select_from(UnitRow))


def state(engine: SqlJobEngine, job: Job) -> JobState:
    with engine.database.read_session() as session:
        return engine.get(session, job.id).state


def test_a_worker_is_seen_while_it_works_and_when_it_has_gone(engine: SqlJobEngine) -> None:
    job, handler = submit(engine), Watched(engine)
    worker = Worker(engine, {KIND: handler}, labels=["gpu"], memory_bytes=2**34, poll_seconds=0.01)
    worker.run(until_idle=True)
    (there,), (gone,) = handler.seen, seen(engine)
    assert there.profile == gone.profile == worker.profile
    assert (there.profile.host, there.profile.pid) == (socket.gethostname(), os.getpid())
    assert (there.state, there.job_id, there.step, there.unit) == (WorkerState.BUSY, job.id, "unit", "a")
    assert (gone.state, gone.job_id) == (WorkerState.STOPPED, None)


@pytest.mark.parametrize("terms", [{"label": "gpu"}, {"memory_bytes": 2**40}])
def test_a_worker_goes_home_when_only_jobs_for_others_are_left(engine: SqlJobEngine, terms: dict[str, object]) -> None:
    job = submit(engine, **terms)
    handlers = {KIND: Watched(engine)}
    Worker(engine, handlers, memory_bytes=2**34, poll_seconds=0.01).run(until_idle=True)
    assert state(engine, job) is JobState.QUEUED
    Worker(engine, handlers, labels=["gpu"], memory_bytes=2**40, poll_seconds=0.01).run(until_idle=True)
    assert state(engine, job) is JobState.SUCCEEDED


def test_units_of_old_jobs_are_forgotten_while_there_is_nothing_to_do(engine: SqlJobEngine) -> None:
    job = submit(engine)
    worker = Worker(engine, {KIND: Watched(engine)}, retention=timedelta(0), poll_seconds=0.01)
    thread = threading.Thread(target=worker.run)
    thread.start()
    deadline = time.monotonic() + 60.0
    while state(engine, job) is not JobState.SUCCEEDED or units_left(engine):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
    worker.stop()
    thread.join()


def test_a_worker_that_always_has_something_to_do_forgets_them_too(engine: SqlJobEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    old = submit(engine)
    Worker(engine, {KIND: Watched(engine)}, poll_seconds=0.01).run(until_idle=True)
    assert state(engine, old) is JobState.SUCCEEDED
    left: list[int | None] = []

    class Looking(Watched):
        def run(self, job: Job, unit: UnitSpec) -> NDArray[np.float64]:
            left.append(units_left(engine))
            return super().run(job, unit)

    for upkeep_seconds in (3600.0, 0.0):
        monkeypatch.setattr(loop, "_UPKEEP_SECONDS", upkeep_seconds)
        with engine.database.session() as session:
            engine.submit(session, kind=KIND, model_id=old.model_id, payload={})
        Worker(engine, {KIND: Looking(engine)}, retention=timedelta(0), poll_seconds=0.01).run(until_idle=True)
    assert left == [2, 1]


def test_a_database_that_hears_nothing_of_workers_stops_none(database: Database) -> None:
    class Deaf(SqlJobEngine):
        def beat(self, worker: WorkerProfile, *, draining: bool) -> None:
            msg = "the database is read-only; make it writable"
            raise StorageError(msg)

        def leave(self, worker: WorkerProfile) -> None:
            self.beat(worker, draining=True)

    engine = Deaf(database)
    job = submit(engine)
    Worker(engine, {KIND: Watched(engine)}, poll_seconds=0.01).run(until_idle=True)
    assert state(engine, job) is JobState.SUCCEEDED


def test_settings_say_what_a_worker_can(database: Database) -> None:
    given = make_worker(database, Settings(worker_labels=frozenset({"gpu"}), worker_memory_bytes=2**33, job_retention_days=2.0))
    assert (given.profile.labels, given.profile.memory_bytes, given.retention) == (frozenset({"gpu"}), 2**33, timedelta(days=2))
    usual = make_worker(database, Settings())
    assert (usual.profile.labels, usual.profile.memory_bytes) == (frozenset(), total_bytes())
    assert usual.profile.kinds == ["drift", "evaluation", "refinement", "sensitivity"]
