"""The worker's loop in one process: error policy, lost leases, a database that goes away, heartbeats."""

import threading
import time
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import update
from sqlalchemy.orm import Session

from planner.errors import NotFoundError, StorageError
from planner.jobs.engine import Job, JobState, Lease, UnitSpec, WorkerProfile
from planner.jobs.errors import PermanentError
from planner.jobs.handler import AbstractJobHandler
from planner.jobs.sql_engine import SqlJobEngine
from planner.storage.database import Database
from planner.storage.tables import UnitRow
from planner.worker.loop import Worker, new_worker_id
from sensitivity.errors import CorruptCheckpointError
from tests.planner.storage.rows import add_model
from tests.planner.worker import fake

LAYERS = 3


@pytest.fixture
def model(database: Database) -> str:
    return add_model(database, layers=LAYERS)


@pytest.fixture
def engine(database: Database) -> SqlJobEngine:
    return SqlJobEngine(database, lease_seconds=60.0, backoff_seconds=0.0)


@pytest.fixture
def job(engine: SqlJobEngine, model: str) -> Job:
    return submit(engine, model, units=3)


def submit(engine: SqlJobEngine, model: str, **payload: object) -> Job:
    with engine.database.session() as session:
        return engine.submit(session, kind=fake.KIND, model_id=model, payload=payload)


def run(engine: SqlJobEngine, handler: AbstractJobHandler) -> None:
    Worker(engine, {fake.KIND: handler}, poll_seconds=0.01).run(until_idle=True)


def state(engine: SqlJobEngine, job: Job) -> tuple[JobState, str | None, int]:
    with engine.database.read_session() as session:
        now = engine.get(session, job.id)
    return now.state, now.reason, now.done


@dataclass
class Scripted(AbstractJobHandler):
    """Raises what the script says, one entry a call, at one step; else does what the fake handler does."""

    step: str
    script: list[BaseException | None]
    calls: list[str] = field(default_factory=list)

    def enumerate(self, job: Job) -> list[UnitSpec]:
        self._play("enumerate")
        return [UnitSpec(f"{number:03d}", {}) for number in range(job.payload["units"])]

    def run(self, job: Job, unit: UnitSpec) -> NDArray[np.float64]:
        self._play("run")
        return fake.value(unit.key)

    def finish(self, session: Session, job: Job, results: Sequence[tuple[str, NDArray[np.float64]]]) -> None:
        self._play("finish")

    def _play(self, step: str) -> None:
        self.calls.append(step)
        if step == self.step and self.script and (error := self.script.pop(0)) is not None:
            raise error


def test_a_job_is_done_and_the_worker_goes_home(database: Database, engine: SqlJobEngine, job: Job, tmp_path: Path) -> None:
    run(engine, fake.FakeHandler(tmp_path / "diary"))
    outcome = fake.outcome(database, job.id, parameters=LAYERS)
    assert (outcome.job.state, outcome.job.done, outcome.finished) == (JobState.SUCCEEDED, 3, 1)
    assert outcome.source == fake.total(["000", "001", "002"])


def test_jobs_of_a_kind_without_handler_are_left_alone(engine: SqlJobEngine, job: Job) -> None:
    Worker(engine, {"other": Scripted("", [])}).run(until_idle=True)
    assert state(engine, job)[0] is JobState.QUEUED


@pytest.mark.parametrize("step", ["enumerate", "run", "finish"])
@pytest.mark.parametrize("error", [CorruptCheckpointError("shard 2 is cut off"), NotFoundError("no model"), PermanentError("no")])
def test_an_error_of_ours_fails_the_job_at_once(engine: SqlJobEngine, job: Job, step: str, error: Exception) -> None:
    handler = Scripted(step, [error] * 2)
    run(engine, handler)
    ended = state(engine, job)
    assert ended[0] is JobState.FAILED
    assert (ended[1] or "").endswith(str(error))
    assert handler.calls.count(step) == 1


@pytest.mark.parametrize("step", ["enumerate", "run", "finish"])
@pytest.mark.parametrize("error", [MemoryError(), ZeroDivisionError("x")])
def test_any_other_error_is_tried_again(engine: SqlJobEngine, job: Job, step: str, error: Exception) -> None:
    handler = Scripted(step, [error, error, None])
    run(engine, handler)
    assert state(engine, job) == (JobState.SUCCEEDED, None, 3)


@pytest.mark.parametrize("step", ["enumerate", "run", "finish"])
def test_a_database_that_takes_nothing_for_long_costs_no_attempt(engine: SqlJobEngine, job: Job, step: str) -> None:
    run(engine, Scripted(step, [*[StorageError("the disk is full")] * 8, None]))
    assert state(engine, job) == (JobState.SUCCEEDED, None, 3)


def test_an_error_that_stays_fails_the_unit_with_its_name(engine: SqlJobEngine, job: Job) -> None:
    run(engine, Scripted("run", [None, *[MemoryError() for _ in range(3)]]))
    said = "1 of 3 units failed; the first of them, unit 001: MemoryError (tried 3 times)"
    assert state(engine, job) == (JobState.SUCCEEDED, said, 2)


def test_a_result_that_is_no_array_of_numbers_fails_the_job(engine: SqlJobEngine, job: Job) -> None:
    class Wrong(Scripted):
        def run(self, job: Job, unit: UnitSpec) -> NDArray[np.float64]:
            return np.array(["text"], dtype=object)

    run(engine, Wrong("", []))
    assert state(engine, job)[0] is JobState.FAILED


def test_a_stopped_worker_begins_nothing_more_and_cancel_works_between_units(engine: SqlJobEngine, job: Job) -> None:
    class Stopping(Scripted):
        def run(self, job: Job, unit: UnitSpec) -> NDArray[np.float64]:
            with engine.database.session() as session:
                engine.cancel(session, job.id)
            return super().run(job, unit)

    handler = Stopping("", [])
    run(engine, handler)
    assert state(engine, job) == (JobState.CANCELLED, None, 1)
    with engine.database.session() as session:
        engine.retry(session, job.id)
    worker = Worker(engine, {fake.KIND: Scripted("", [])})
    worker.stop()
    worker.run()
    assert state(engine, job)[2] == 1
    run(engine, Scripted("", []))
    assert state(engine, job) == (JobState.SUCCEEDED, None, 3)


def test_a_lost_lease_costs_the_result_not_the_worker(
    engine: SqlJobEngine, job: Job, logs: list[MutableMapping[str, Any]]
) -> None:
    class Slow(Scripted):
        def run(self, job: Job, unit: UnitSpec) -> NDArray[np.float64]:
            if self.calls.count("run") == 0:  # meanwhile somebody else takes this unit and dies
                with engine.database.session() as session:
                    theirs = {"lease_token": "theirs", "lease_until": None}
                    session.execute(update(UnitRow).where(UnitRow.key == unit.key).values(theirs))
            return super().run(job, unit)

    handler = Slow("", [])
    run(engine, handler)
    assert state(engine, job) == (JobState.SUCCEEDED, None, 3)
    assert handler.calls.count("run") == 4
    assert [entry["unit"] for entry in logs if entry["event"] == "result dropped"] == ["000"]


class Unreliable(SqlJobEngine):
    """The database goes away at the first two calls of one method, before or after the method did its work."""

    def __init__(self, database: Database, method: str, *, after: bool) -> None:
        super().__init__(database, lease_seconds=60.0, backoff_seconds=0.0)
        self.method, self.after, self.times = method, after, 2

    def claim(self, worker: WorkerProfile) -> Lease | None:
        self._fail("claim")
        return super().claim(worker)

    def record_units(self, lease: Lease, units: Sequence[UnitSpec]) -> None:
        self._fail("record_units", lambda: super(Unreliable, self).record_units(lease, units))
        super().record_units(lease, units)

    def record_result(self, lease: Lease, result: NDArray[np.float64], *, seconds: float) -> None:
        self._fail("record_result", lambda: super(Unreliable, self).record_result(lease, result, seconds=seconds))
        super().record_result(lease, result, seconds=seconds)

    def _fail(self, method: str, what: Callable[[], None] | None = None) -> None:
        if method != self.method or self.times == 0:
            return
        self.times -= 1
        if self.after and what is not None:
            what()
        raise StorageError("the server is away; try again")


@pytest.mark.parametrize("method", ["claim", "record_units", "record_result"])
def test_a_database_that_is_away_is_waited_for(database: Database, model: str, method: str) -> None:
    engine = Unreliable(database, method, after=False)
    job = submit(engine, model, units=2)
    handler = Scripted("", [])
    run(engine, handler)
    assert state(engine, job) == (JobState.SUCCEEDED, None, 2)
    assert handler.calls == ["enumerate", "run", "run", "finish"]


@pytest.mark.parametrize("method", ["record_units", "record_result"])
def test_a_commit_whose_answer_was_lost_is_not_done_twice(database: Database, model: str, method: str) -> None:
    engine = Unreliable(database, method, after=True)
    engine.times = 1
    job = submit(engine, model, units=2)
    handler = Scripted("", [])
    run(engine, handler)
    assert state(engine, job) == (JobState.SUCCEEDED, None, 2)
    assert handler.calls == ["enumerate", "run", "run", "finish"]


def test_a_heartbeat_holds_a_unit_that_takes_longer_than_a_lease(database: Database, model: str) -> None:
    engine = SqlJobEngine(database, lease_seconds=0.9)
    job = submit(engine, model, units=1)

    class Slow(Scripted):
        def run(self, job: Job, unit: UnitSpec) -> NDArray[np.float64]:
            time.sleep(2.0)
            return super().run(job, unit)

    handler = Slow("", [])
    threads = [threading.Thread(target=run, args=(engine, handler)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state(engine, job) == (JobState.SUCCEEDED, None, 1)
    assert handler.calls == ["enumerate", "run", "finish"]


def test_no_two_workers_have_one_name() -> None:
    assert new_worker_id() != new_worker_id()
