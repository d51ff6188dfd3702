"""The contract of a job engine: steps, order, pages, pace."""

import dataclasses
from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from planner.errors import NotFoundError, StorageError
from planner.jobs.engine import AbstractJobEngine, Job, JobState, Step
from planner.jobs.errors import PermanentError
from planner.jobs.sql_engine import SqlJobEngine
from planner.storage.database import Database
from planner.storage.tables import UnitRow
from tests.planner.jobs.steps import KIND, claim, get, ignore, listed, record, submit, units, worker
from tests.planner.storage.rows import add_model


def test_a_job_goes_through_its_steps_once_each_and_its_results_come_in_the_order_of_keys(
    engine: AbstractJobEngine, database: Database, job: Job
) -> None:
    assert (job.state, job.total, job.started_at) == (JobState.QUEUED, None, None)
    listed(engine, "b", "c", "a")
    running = get(engine, database, job)
    assert (running.state, running.total, running.done) == (JobState.RUNNING, 3, 0)
    leases = [claim(engine) for _ in range(3)]
    assert [lease.unit for lease in leases] == units("a", "b", "c")
    assert engine.claim(worker()) is None
    for value, lease in enumerate(reversed(leases)):
        record(engine, lease, float(value))
    seen: list[tuple[str, list[float]]] = []
    last = claim(engine)
    assert last.step is Step.FINISH
    assert engine.claim(worker("other")) is None
    engine.finish(last, lambda session, job, results: seen.extend((key, array.tolist()) for key, array in results))
    assert seen == [("a", [2.0]), ("b", [1.0]), ("c", [0.0])]
    ended = get(engine, database, job)
    assert (ended.state, ended.done, ended.reason) == (JobState.SUCCEEDED, 3, None)
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert ended.created_at <= ended.started_at <= ended.finished_at
    assert engine.claim(worker()) is None
    assert not engine.has_work(worker())


def test_a_job_without_units_succeeds(engine: AbstractJobEngine, database: Database, job: Job) -> None:
    listed(engine)
    engine.finish(claim(engine), ignore)
    assert get(engine, database, job).state is JobState.SUCCEEDED


def test_submitting_is_part_of_the_callers_transaction(engine: AbstractJobEngine, database: Database, model: str) -> None:
    def submit_both(session: Session) -> None:
        for known in (model, "none"):
            engine.submit(session, kind="fake", model_id=known, payload={})

    with pytest.raises(IntegrityError), database.session() as session:
        submit_both(session)
    assert not engine.has_work(worker())


def test_other_kinds_are_left_to_other_workers(engine: AbstractJobEngine, job: Job) -> None:
    assert engine.claim(worker(kinds=["other"])) is None
    assert not engine.has_work(worker(kinds=["other"]))
    assert engine.has_work(worker(kinds=["other", KIND]))


def test_jobs_are_served_by_priority_then_age(engine: AbstractJobEngine, database: Database, model: str) -> None:
    old, new, urgent = (submit(engine, database, model, priority=priority) for priority in (0, 0, -1))
    assert [claim(engine).job.id for _ in range(3)] == [urgent.id, old.id, new.id]


def test_a_worker_goes_on_to_the_next_job_when_all_units_of_the_first_are_taken(
    engine: AbstractJobEngine, database: Database, model: str
) -> None:
    first = submit(engine, database, model)
    listed(engine, "a")
    second = submit(engine, database, model)
    assert [(claim(engine).job.id) for _ in range(2)] == [first.id, second.id]


def test_an_unknown_job_says_where_the_known_ones_are(engine: AbstractJobEngine, database: Database) -> None:
    for method in (engine.get, engine.cancel, engine.retry):
        with pytest.raises(NotFoundError, match="GET /v1/jobs"), database.session() as session:
            method(session, "none")


@pytest.mark.parametrize("keys", [("a", "a"), ("",), ("x" * 101,)])
def test_keys_that_cannot_be_told_apart_or_stored_are_refused(engine: AbstractJobEngine, job: Job, keys: tuple[str, ...]) -> None:
    with pytest.raises(PermanentError, match="correct the handler"):
        engine.record_units(claim(engine), units(*keys))


def test_jobs_are_listed_newest_first_in_pages(engine: AbstractJobEngine, database: Database, model: str) -> None:
    jobs = [submit(engine, database, model) for _ in range(5)]
    other = add_model(database, model_id="o" * 64)
    submit(engine, database, other)
    with database.session() as session:
        engine.cancel(session, jobs[1].id)
        first = engine.list_jobs(session, model_id=model, limit=3)
        rest = engine.list_jobs(session, model_id=model, limit=3, after=first[-1])
        cancelled = engine.list_jobs(session, states=[JobState.CANCELLED])
        everything = engine.list_jobs(session)
    assert [job.id for job in first + rest] == [job.id for job in reversed(jobs)]
    assert [job.id for job in cancelled] == [jobs[1].id]
    assert len(everything) == 6


def test_pace_is_that_of_the_last_units(engine: AbstractJobEngine, database: Database, job: Job) -> None:
    with database.read_session() as session:
        assert dataclasses.astuple(engine.paces(session, [job])[job.id]) == (None, None)
    listed(engine, *"abcdef")
    for _ in range(3):
        record(engine, claim(engine))
    with database.session() as session:
        now = database.now(session)
        for seconds, key in ((8, "a"), (4, "b"), (0, "c")):
            session.execute(update(UnitRow).where(UnitRow.key == key).values(finished_at=now - timedelta(seconds=seconds)))
        pace = engine.paces(session, [engine.get(session, job.id)])[job.id]
    assert pace.rate == pytest.approx(0.25)
    assert pace.eta_seconds == pytest.approx(12.0)


def test_a_database_that_is_away_is_a_storage_error(tmp_path: object) -> None:
    engine = SqlJobEngine(Database("postgresql://nobody@127.0.0.1:1/none"))
    with pytest.raises(StorageError):
        engine.claim(worker())
