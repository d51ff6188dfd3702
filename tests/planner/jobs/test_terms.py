"""The contract of a job engine: who gets which job, in which order, and how a job rests."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.errors import ConflictError
from planner.jobs.engine import AbstractJobEngine, Job, JobState, Step
from planner.jobs.job import Terms
from planner.storage.database import Database
from tests.planner.jobs.steps import claim, get, ignore, let_leases_end, listed, record, submit, units, worker


def pause(engine: AbstractJobEngine, database: Database, job: Job) -> Job:
    with database.session() as session:
        return engine.pause(session, job.id)


def resume(engine: AbstractJobEngine, database: Database, job: Job) -> Job:
    with database.session() as session:
        return engine.resume(session, job.id)


def test_a_job_that_asks_for_a_label_waits_for_a_worker_that_has_it(
    engine: AbstractJobEngine, database: Database, model: str
) -> None:
    asked = submit(engine, database, model, label="gpu")
    for labels in (frozenset[str](), frozenset({"cpu"})):
        assert engine.claim(worker(labels=labels)) is None
        assert not engine.has_work(worker(labels=labels))
    lease = engine.claim(worker(labels=frozenset({"cpu", "gpu"})))
    assert lease is not None
    assert (lease.job.id, lease.job.terms.label) == (asked.id, "gpu")
    engine.record_units(lease, units("a"))
    assert engine.claim(worker()) is None


def test_a_job_that_needs_more_memory_is_left_to_a_larger_worker(
    engine: AbstractJobEngine, database: Database, model: str
) -> None:
    large = submit(engine, database, model, memory_bytes=2**40)
    small = submit(engine, database, model, memory_bytes=2**30)
    taken = [engine.claim(worker(memory_bytes=memory)) for memory in (2**30 - 1, 2**30, None)]
    assert [lease and lease.job.id for lease in taken] == [None, small.id, large.id]


def test_units_of_a_sequential_job_are_begun_one_after_the_other(
    engine: AbstractJobEngine, database: Database, model: str
) -> None:
    submit(engine, database, model, sequential=True)
    listed(engine, "a", "b", "c")
    for key in ("a", "b"):
        lease = claim(engine)
        assert lease.unit == units(key)[0]
        assert engine.claim(worker("other")) is None
        record(engine, lease)
    claim(engine)
    let_leases_end(database)
    assert claim(engine, "other").unit == units("c")[0]


def test_a_failed_unit_ends_a_sequential_job(engine: AbstractJobEngine, database: Database, model: str) -> None:
    job = submit(engine, database, model, sequential=True)
    listed(engine, "a", "b")
    record(engine, claim(engine))
    for _ in range(3):
        engine.fail(claim(engine), "no", permanent=False)
    assert get(engine, database, job).reason == "unit b: no (tried 3 times)"
    assert get(engine, database, job).state is JobState.FAILED


def test_a_silent_workers_unit_comes_before_all_that_wait(engine: AbstractJobEngine, database: Database, job: Job) -> None:
    listed(engine, "a", "b", "c", "d")
    record(engine, claim(engine))
    lost = claim(engine)
    let_leases_end(database)
    assert claim(engine, "other").unit == lost.unit


def test_a_paused_job_rests_and_goes_on(engine: AbstractJobEngine, database: Database, job: Job) -> None:
    listed(engine, "a", "b")
    lease = claim(engine)
    for _ in range(2):
        assert pause(engine, database, job).state is JobState.PAUSED
    assert engine.claim(worker()) is None
    assert not engine.has_work(worker())
    assert engine.extend(lease)
    record(engine, lease)
    resting = get(engine, database, job)
    assert (resting.state, resting.done, resting.finished_at) == (JobState.PAUSED, 1, None)
    for _ in range(2):
        assert resume(engine, database, job).state is JobState.RUNNING
    record(engine, claim(engine))
    engine.finish(claim(engine), ignore)
    assert get(engine, database, job).state is JobState.SUCCEEDED


def test_a_job_is_paused_before_it_begins_and_while_its_units_are_listed(
    engine: AbstractJobEngine, database: Database, job: Job
) -> None:
    pause(engine, database, job)
    assert engine.claim(worker()) is None
    assert resume(engine, database, job).state is JobState.QUEUED
    lease = claim(engine)
    assert lease.step is Step.ENUMERATE
    pause(engine, database, job)
    engine.record_units(lease, units("a"))
    assert (get(engine, database, job).state, get(engine, database, job).total) == (JobState.PAUSED, 1)
    resume(engine, database, job)
    assert claim(engine).unit == units("a")[0]


def test_what_has_ended_cannot_rest_and_what_rests_can_be_cancelled(
    engine: AbstractJobEngine, database: Database, job: Job
) -> None:
    pause(engine, database, job)
    with pytest.raises(ConflictError, match="is paused"), database.session() as session:
        engine.retry(session, job.id)
    with database.session() as session:
        assert engine.cancel(session, job.id).state is JobState.CANCELLED
    for act in (pause, resume):
        with pytest.raises(ConflictError, match="cancelled already"):
            act(engine, database, job)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(priorities=st.lists(st.integers(-3, 3), min_size=1, max_size=5))
def test_jobs_are_begun_by_priority_and_then_by_age(
    engine: AbstractJobEngine, database: Database, model: str, priorities: list[int]
) -> None:
    with database.session() as session:
        jobs = [
            engine.submit(session, kind="fake", model_id=model, payload={}, terms=Terms(priority=priority))
            for priority in priorities
        ]
    wanted = sorted(jobs, key=lambda job: (job.terms.priority, job.created_at, job.id))
    assert [claim(engine).job.id for _ in jobs] == [job.id for job in wanted]
    with database.session() as session:
        for job in jobs:
            engine.cancel(session, job.id)
