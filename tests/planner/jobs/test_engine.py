"""The contract of a job engine; the next engine is one more value of the ``engine`` fixture."""

import dataclasses
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from planner.errors import ConflictError, NotFoundError, StorageError
from planner.jobs.engine import AbstractJobEngine, Job, JobState, Lease, Step, UnitSpec
from planner.jobs.errors import LeaseLostError, PermanentError
from planner.jobs.sql_engine import SqlJobEngine
from planner.storage.database import Database
from planner.storage.tables import JobRow, ModelRow, UnitRow
from tests.planner.storage.rows import add_model

KINDS = ("fake",)
LEASE_SECONDS = 60.0


@pytest.fixture
def model(database: Database) -> str:
    return add_model(database)


@pytest.fixture
def engine(database: Database, model: str) -> AbstractJobEngine:
    return SqlJobEngine(database, lease_seconds=LEASE_SECONDS, max_attempts=3, backoff_seconds=0.0)


@pytest.fixture
def job(engine: AbstractJobEngine, database: Database, model: str) -> Job:
    return submit(engine, database, model)


def submit(engine: AbstractJobEngine, database: Database, model: str, **facts: Any) -> Job:
    with database.session() as session:
        return engine.submit(session, kind="fake", model_id=model, payload=facts.pop("payload", {"n": 1}), **facts)


def get(engine: AbstractJobEngine, database: Database, job: Job) -> Job:
    with database.read_session() as session:
        return engine.get(session, job.id)


def claim(engine: AbstractJobEngine, worker: str = "w") -> Lease:
    lease = engine.claim(worker, KINDS)
    assert lease is not None
    return lease


def units(*keys: str) -> list[UnitSpec]:
    return [UnitSpec(key, {"key": key}) for key in keys]


def listed(engine: AbstractJobEngine, *keys: str) -> None:
    lease = claim(engine)
    assert lease.step is Step.ENUMERATE
    engine.record_units(lease, units(*keys))


def record(engine: AbstractJobEngine, lease: Lease, value: float = 1.0) -> None:
    engine.record_result(lease, np.array([value]), seconds=0.1)


def ignore(session: Session, job: Job, results: Sequence[tuple[str, NDArray[np.float64]]]) -> None:
    """A reduction that writes nothing."""


def let_leases_end(database: Database) -> None:
    """As if the workers had been silent for longer than a lease."""
    past = timedelta(seconds=1)
    with database.session() as session:
        now = database.now(session)
        for table in (JobRow, UnitRow):
            session.execute(update(table).where(table.lease_token.is_not(None)).values(lease_until=now - past))


def test_a_job_goes_through_its_steps_once_each_and_its_results_come_in_the_order_of_keys(
    engine: AbstractJobEngine, database: Database, job: Job
) -> None:
    assert (job.state, job.total, job.started_at) == (JobState.QUEUED, None, None)
    listed(engine, "b", "c", "a")
    running = get(engine, database, job)
    assert (running.state, running.total, running.done) == (JobState.RUNNING, 3, 0)
    leases = [claim(engine) for _ in range(3)]
    assert [lease.unit for lease in leases] == units("a", "b", "c")
    assert engine.claim("w", KINDS) is None
    for value, lease in enumerate(reversed(leases)):
        record(engine, lease, float(value))
    seen: list[tuple[str, list[float]]] = []
    last = claim(engine)
    assert last.step is Step.FINISH
    assert engine.claim("other", KINDS) is None
    engine.finish(last, lambda session, job, results: seen.extend((key, array.tolist()) for key, array in results))
    assert seen == [("a", [2.0]), ("b", [1.0]), ("c", [0.0])]
    ended = get(engine, database, job)
    assert (ended.state, ended.done, ended.reason) == (JobState.SUCCEEDED, 3, None)
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert ended.created_at <= ended.started_at <= ended.finished_at
    assert engine.claim("w", KINDS) is None
    assert not engine.has_work(KINDS)


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
    assert not engine.has_work(KINDS)


def test_other_kinds_are_left_to_other_workers(engine: AbstractJobEngine, job: Job) -> None:
    assert engine.claim("w", ["other"]) is None
    assert not engine.has_work(["other"])
    assert engine.has_work(["other", "fake"])


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


def test_a_dead_workers_unit_is_taken_after_its_lease_and_the_zombie_is_fenced_off(
    engine: AbstractJobEngine, database: Database, job: Job
) -> None:
    listed(engine, "a")
    zombie = claim(engine, "zombie")
    assert engine.claim("other", KINDS) is None
    let_leases_end(database)
    successor = claim(engine, "other")
    assert successor.unit == zombie.unit
    assert not engine.extend(zombie)
    with pytest.raises(LeaseLostError, match="another worker"):
        record(engine, zombie, 1.0)
    with pytest.raises(LeaseLostError, match="another worker"):
        engine.fail(zombie, "late", permanent=True)
    engine.release(zombie)
    record(engine, successor, 2.0)
    with pytest.raises(LeaseLostError, match="another worker"):
        record(engine, successor, 3.0)
    assert get(engine, database, job).done == 1
    engine.finish(claim(engine), lambda session, job, results: np.testing.assert_array_equal(results[0][1], [2.0]))


def test_who_is_late_but_not_replaced_may_still_record(engine: AbstractJobEngine, database: Database, job: Job) -> None:
    listed(engine, "a")
    lease = claim(engine)
    let_leases_end(database)
    record(engine, lease)
    assert get(engine, database, job).done == 1


def test_a_heartbeat_holds_the_lease(engine: AbstractJobEngine, database: Database, job: Job) -> None:
    listed(engine, "a")
    lease = claim(engine)
    let_leases_end(database)
    assert engine.extend(lease)
    assert engine.claim("other", KINDS) is None


def test_a_clock_that_jumped_back_does_not_lock_a_unit_for_years(engine: AbstractJobEngine, database: Database, job: Job) -> None:
    listed(engine, "a")
    lost = claim(engine)
    with database.session() as session:
        session.execute(update(UnitRow).values(lease_until=database.now(session) + timedelta(days=400)))
    assert claim(engine, "other").unit == lost.unit


@pytest.mark.parametrize("step", [Step.ENUMERATE, Step.FINISH])
def test_whole_job_steps_are_fenced_too(engine: AbstractJobEngine, database: Database, job: Job, step: Step) -> None:
    if step is Step.FINISH:
        listed(engine)
    zombie = claim(engine, "zombie")
    assert zombie.step is step
    assert engine.claim("other", KINDS) is None
    let_leases_end(database)
    successor = claim(engine, "other")

    def do(lease: Lease) -> None:
        if step is Step.FINISH:
            engine.finish(lease, ignore)
        else:
            engine.record_units(lease, units("a"))

    with pytest.raises(LeaseLostError, match="another worker"):
        do(zombie)
    do(successor)
    with pytest.raises(LeaseLostError, match="another worker"):
        do(successor)


def test_a_step_given_back_is_free_at_once_and_costs_no_attempt(engine: AbstractJobEngine, database: Database, job: Job) -> None:
    for _ in range(5):
        engine.release(claim(engine))
    listed(engine, "a")
    for _ in range(5):
        engine.release(claim(engine))
    record(engine, claim(engine))
    assert get(engine, database, job).done == 1


def test_a_unit_that_keeps_failing_fails_its_job_with_the_reason(engine: AbstractJobEngine, database: Database, job: Job) -> None:
    listed(engine, "a", "b")
    for attempt in range(3):
        assert get(engine, database, job).state is JobState.RUNNING, attempt
        engine.fail(claim(engine), "disk is on fire", permanent=False)
    failed = get(engine, database, job)
    assert (failed.state, failed.failed, failed.done) == (JobState.FAILED, 1, 0)
    assert failed.reason == "unit a: disk is on fire (tried 3 times)"
    assert engine.claim("w", KINDS) is None


def test_a_failed_attempt_waits_before_the_next(database: Database, model: str) -> None:
    engine = SqlJobEngine(database, backoff_seconds=30.0)
    submit(engine, database, model)
    listed(engine, "a", "b")
    engine.fail(claim(engine), "not yet", permanent=False)
    assert claim(engine).unit == units("b")[0]
    assert engine.claim("w", KINDS) is None
    assert engine.has_work(KINDS)


def test_bad_input_fails_the_job_at_once(engine: AbstractJobEngine, database: Database, job: Job) -> None:
    listed(engine, "a")
    engine.fail(claim(engine), "the shard is corrupt", permanent=True)
    assert get(engine, database, job).reason == "unit a: the shard is corrupt"


@pytest.mark.parametrize("step", [Step.ENUMERATE, Step.FINISH])
def test_whole_job_steps_that_keep_failing_fail_the_job(
    engine: AbstractJobEngine, database: Database, job: Job, step: Step
) -> None:
    if step is Step.FINISH:
        listed(engine)
    for _ in range(3):
        lease = claim(engine)
        assert lease.step is step
        engine.fail(lease, "no", permanent=False)
    assert get(engine, database, job).reason == "no (tried 3 times)"


def test_a_unit_that_kills_its_workers_is_poison_and_the_job_ends(
    engine: AbstractJobEngine, database: Database, job: Job
) -> None:
    listed(engine, "a")
    for _ in range(3):
        claim(engine)
        let_leases_end(database)
    assert engine.claim("w", KINDS) is None
    ended = get(engine, database, job)
    assert (ended.state, ended.failed) == (JobState.FAILED, 1)
    assert "unit a: its worker died 3 times" in (ended.reason or "")


@pytest.mark.parametrize("step", [Step.ENUMERATE, Step.FINISH])
def test_a_whole_job_step_that_kills_its_workers_ends_the_job(
    engine: AbstractJobEngine, database: Database, job: Job, step: Step
) -> None:
    if step is Step.FINISH:
        listed(engine)
    for _ in range(3):
        claim(engine)
        let_leases_end(database)
    assert engine.claim("w", KINDS) is None
    ended = get(engine, database, job)
    assert ended.state is JobState.FAILED
    assert f"the worker died in the step '{step}'" in (ended.reason or "")


def test_cancel_takes_effect_before_the_next_unit_and_keeps_what_is_done(
    engine: AbstractJobEngine, database: Database, job: Job
) -> None:
    listed(engine, "a", "b")
    lease = claim(engine)
    with database.session() as session:
        assert engine.cancel(session, job.id).state is JobState.CANCELLED
        assert engine.cancel(session, job.id).state is JobState.CANCELLED
    assert engine.claim("w", KINDS) is None
    record(engine, lease)
    cancelled = get(engine, database, job)
    assert (cancelled.state, cancelled.done) == (JobState.CANCELLED, 1)
    assert cancelled.finished_at is not None


def test_cancel_fences_off_who_lists_the_units(engine: AbstractJobEngine, database: Database, job: Job) -> None:
    lease = claim(engine)
    with database.session() as session:
        engine.cancel(session, job.id)
    with pytest.raises(LeaseLostError, match="stopped"):
        engine.record_units(lease, units("a"))
    with database.read_session() as session:
        assert session.scalar(select(func.count()).select_from(UnitRow)) == 0


@pytest.mark.parametrize("how", ["cancelled", "failed"])
def test_retry_runs_only_what_has_no_result(engine: AbstractJobEngine, database: Database, job: Job, how: str) -> None:
    listed(engine, "a", "b")
    record(engine, claim(engine))
    if how == "failed":
        engine.fail(claim(engine), "no", permanent=True)
    else:
        with database.session() as session:
            engine.cancel(session, job.id)
    with database.session() as session:
        again = engine.retry(session, job.id)
    assert (again.state, again.done, again.failed, again.reason, again.finished_at) == (JobState.RUNNING, 1, 0, None, None)
    lease = claim(engine)
    assert lease.unit == units("b")[0]
    record(engine, lease)
    engine.finish(claim(engine), ignore)
    assert get(engine, database, job).state is JobState.SUCCEEDED


def test_retry_of_a_job_that_was_cancelled_in_the_queue_lists_its_units(
    engine: AbstractJobEngine, database: Database, job: Job
) -> None:
    with database.session() as session:
        engine.cancel(session, job.id)
        assert engine.retry(session, job.id).state is JobState.QUEUED
    assert claim(engine).step is Step.ENUMERATE


def test_retry_leaves_a_unit_to_the_worker_that_has_it_and_forgives_the_deaths_before(
    engine: AbstractJobEngine, database: Database, job: Job
) -> None:
    listed(engine, "a", "b")
    for _ in range(2):
        claim(engine)
        let_leases_end(database)
    last = claim(engine)
    with database.session() as session:
        engine.cancel(session, job.id)
        engine.retry(session, job.id)
    assert claim(engine).unit == units("b")[0]
    assert engine.extend(last)
    let_leases_end(database)
    assert claim(engine).unit == last.unit
    assert get(engine, database, job).state is JobState.RUNNING


def test_states_that_do_not_allow_it_are_conflicts(engine: AbstractJobEngine, database: Database, job: Job) -> None:
    with pytest.raises(ConflictError, match="is queued"), database.session() as session:
        engine.retry(session, job.id)
    listed(engine)
    engine.finish(claim(engine), ignore)
    with pytest.raises(ConflictError, match="succeeded already"), database.session() as session:
        engine.cancel(session, job.id)
    with pytest.raises(ConflictError, match="is succeeded"), database.session() as session:
        engine.retry(session, job.id)


def test_an_unknown_job_says_where_the_known_ones_are(engine: AbstractJobEngine, database: Database) -> None:
    for method in (engine.get, engine.cancel, engine.retry):
        with pytest.raises(NotFoundError, match="GET /v1/jobs"), database.session() as session:
            method(session, "none")


def test_a_reduction_that_fails_leaves_no_row_and_no_success(engine: AbstractJobEngine, database: Database, job: Job) -> None:
    listed(engine)
    lease = claim(engine)

    def reduce(session: Session, job: Job, results: Sequence[tuple[str, NDArray[np.float64]]]) -> None:
        session.execute(update(ModelRow).values(name="half-written"))
        session.flush()
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        engine.finish(lease, reduce)
    with database.read_session() as session:
        assert session.scalar(select(ModelRow.name)) == "tiny"
    assert get(engine, database, job).state is JobState.RUNNING
    engine.fail(lease, "in the middle", permanent=False)
    engine.finish(claim(engine), ignore)
    assert get(engine, database, job).state is JobState.SUCCEEDED


@pytest.mark.parametrize("keys", [("a", "a"), ("",), ("x" * 101,)])
def test_keys_that_cannot_be_told_apart_or_stored_are_refused(engine: AbstractJobEngine, job: Job, keys: tuple[str, ...]) -> None:
    with pytest.raises(PermanentError, match="correct the handler"):
        engine.record_units(claim(engine), units(*keys))


def test_a_deleted_model_takes_its_jobs_along_and_fences_off_their_workers(
    engine: AbstractJobEngine, database: Database, job: Job, model: str
) -> None:
    listed(engine, "a")
    lease = claim(engine)
    with database.session() as session:
        session.delete(session.get_one(ModelRow, model))
    with pytest.raises(LeaseLostError, match="deleted"):
        record(engine, lease)
    with database.read_session() as session:
        assert session.scalar(select(func.count()).select_from(UnitRow)) == 0


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
        assert dataclasses.astuple(engine.pace(session, job)) == (None, None)
    listed(engine, *"abcdef")
    for _ in range(3):
        record(engine, claim(engine))
    with database.session() as session:
        now = database.now(session)
        for seconds, key in ((8, "a"), (4, "b"), (0, "c")):
            session.execute(update(UnitRow).where(UnitRow.key == key).values(finished_at=now - timedelta(seconds=seconds)))
        pace = engine.pace(session, engine.get(session, job.id))
    assert pace.rate == pytest.approx(0.25)
    assert pace.eta_seconds == pytest.approx(12.0)


def test_many_claimers_share_the_units_without_a_double(engine: AbstractJobEngine, database: Database, job: Job) -> None:
    listed(engine, *(f"{number:03d}" for number in range(40)))
    done: list[str] = []

    def work(name: str) -> None:
        while (lease := engine.claim(name, KINDS)) is not None and lease.unit is not None:
            record(engine, lease)
            done.append(lease.unit.key)

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [f"{number:03d}" for number in range(40)]
    assert get(engine, database, job).done == 40


def test_a_database_that_is_away_is_a_storage_error(tmp_path: object) -> None:
    engine = SqlJobEngine(Database("postgresql://nobody@127.0.0.1:1/none"))
    with pytest.raises(StorageError):
        engine.claim("w", KINDS)
