"""The contract of a job engine: who is there, and what is forgotten."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from planner.jobs.engine import AbstractJobEngine, Job, JobState, Step
from planner.jobs.workers import WorkerState
from planner.storage.database import Database
from planner.storage.tables import JobRow, UnitRow, WorkerRow
from tests.planner.jobs.steps import LEASE_SECONDS, claim, get, ignore, listed, record, submit, worker


def states(engine: AbstractJobEngine, database: Database) -> dict[str, WorkerState]:
    with database.read_session() as session:
        return {seen.profile.id: seen.state for seen in engine.list_workers(session)}


def shift(database: Database, seconds: float) -> None:
    """As if all workers had been heard of so many seconds earlier."""
    with database.session() as session:
        moved = {"last_seen": database.now(session) - timedelta(seconds=seconds)}
        session.execute(update(WorkerRow).values(moved))


def units_left(database: Database) -> int:
    with database.read_session() as session:
        return session.scalar(select(func.count()).select_from(UnitRow)) or 0


def age(database: Database, job: Job, days: float) -> None:
    with database.session() as session:
        ended = database.now(session) - timedelta(days=days)
        session.execute(update(JobRow).where(JobRow.id == job.id).values(finished_at=ended))


def test_workers_are_seen_with_what_they_can_and_what_they_do(engine: AbstractJobEngine, database: Database, job: Job) -> None:
    mine = worker("w", labels=frozenset({"gpu"}), memory_bytes=2**34, host="here", pid=7)
    engine.beat(mine, draining=False)
    assert states(engine, database) == {"w": WorkerState.IDLE}
    lease = claim(engine)
    with database.read_session() as session:
        (seen,) = engine.list_workers(session)
    assert seen.profile == mine
    assert (seen.state, seen.job_id, seen.step, seen.unit) == (WorkerState.BUSY, job.id, Step.ENUMERATE, None)
    engine.release(lease)
    listed(engine, "a")
    lease = claim(engine)
    engine.beat(mine, draining=True)
    with database.read_session() as session:
        (seen,) = engine.list_workers(session)
    assert (seen.state, seen.job_id, seen.step, seen.unit) == (WorkerState.DRAINING, job.id, Step.UNIT, "a")
    assert seen.started_at < seen.last_seen
    record(engine, lease)
    engine.leave(mine)
    assert states(engine, database) == {"w": WorkerState.STOPPED}


@pytest.mark.parametrize("seconds", [2 * LEASE_SECONDS, -86_400.0])
def test_a_worker_that_was_silent_for_a_lease_is_lost_until_it_is_heard_again(
    engine: AbstractJobEngine, database: Database, seconds: float
) -> None:
    engine.beat(worker(), draining=False)
    shift(database, seconds)  # the second: as if the clock had jumped back by a day
    assert states(engine, database) == {"w": WorkerState.LOST}
    engine.beat(worker(), draining=False)
    assert states(engine, database) == {"w": WorkerState.IDLE}


def test_saying_good_bye_unseen_does_nothing(engine: AbstractJobEngine, database: Database) -> None:
    engine.leave(worker())
    assert states(engine, database) == {}


def test_workers_are_forgotten_after_a_day(engine: AbstractJobEngine, database: Database) -> None:
    engine.beat(worker(), draining=False)
    shift(database, 2 * 86_400)
    engine.beat(worker("new"), draining=False)
    engine.purge(older_than=timedelta(days=30))
    assert states(engine, database) == {"new": WorkerState.IDLE}


def test_units_of_jobs_that_ended_long_ago_are_forgotten_and_nothing_else(
    engine: AbstractJobEngine, database: Database, model: str
) -> None:
    old, young, running = (submit(engine, database, model) for _ in range(3))
    for job in (old, young):
        listed(engine, *(f"{number:03d}" for number in range(3)))
        for _ in range(3):
            record(engine, claim(engine))
        engine.finish(claim(engine), ignore)
        age(database, job, 40.0 if job is old else 20.0)
    listed(engine, "a")
    assert engine.purge(older_than=timedelta(days=30)) == 3
    assert units_left(database) == 4
    kept = get(engine, database, old)
    assert (kept.state, kept.done, kept.total) == (JobState.SUCCEEDED, 3, 3)
    assert engine.purge(older_than=timedelta(days=30)) == 0
    assert get(engine, database, running).state is JobState.RUNNING


def test_a_job_whose_units_are_forgotten_is_tried_again_from_the_beginning(
    engine: AbstractJobEngine, database: Database, job: Job
) -> None:
    listed(engine, "a", "b")
    record(engine, claim(engine))
    with database.session() as session:
        engine.cancel(session, job.id)
    age(database, job, 1.0)
    engine.purge(older_than=timedelta(0))
    with database.session() as session:
        again = engine.retry(session, job.id)
    assert (again.state, again.done, again.total) == (JobState.QUEUED, 0, None)
    listed(engine, "a", "b")
    assert units_left(database) == 2
