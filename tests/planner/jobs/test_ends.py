"""The contract of a job engine: how jobs fail, are cancelled and tried again, so that each reaches an end."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from planner.errors import ConflictError, NotFoundError
from planner.jobs.engine import AbstractJobEngine, Job, JobState, Step
from planner.jobs.errors import LeaseLostError
from planner.jobs.job import FailedUnit
from planner.jobs.rows import find_job, snapshot
from planner.jobs.sql_engine import SqlJobEngine
from planner.storage.database import Database
from planner.storage.tables import JobRow, ModelRow, UnitRow
from tests.planner.jobs.steps import claim, get, ignore, let_leases_end, listed, record, submit, units, worker


def fail_for_good(engine: AbstractJobEngine) -> None:
    for _ in range(3):
        engine.fail(claim(engine), "disk is on fire", permanent=False)


def test_a_unit_that_keeps_failing_fails_alone_and_its_job_completes_with_that_noted(
    engine: AbstractJobEngine, database: Database, job: Job
) -> None:
    listed(engine, "a", "b", "c")
    fail_for_good(engine)
    for _ in range(2):
        record(engine, claim(engine))
    seen: list[str] = []
    engine.finish(claim(engine), lambda session, job, results: seen.extend([*(key for key, _ in results), str(job.failed)]))
    assert seen == ["b", "c", "1"]
    ended = get(engine, database, job)
    assert (ended.state, ended.failed, ended.done, ended.total) == (JobState.SUCCEEDED, 1, 2, 3)
    assert ended.reason == "1 of 3 units failed; the first of them, unit a: disk is on fire (tried 3 times)"
    with database.read_session() as session:
        assert engine.failures(session, [ended], limit=5) == {ended.id: [FailedUnit("a", "disk is on fire (tried 3 times)", 3)]}
    assert engine.claim(worker()) is None


def test_a_job_none_of_whose_units_succeeded_fails(engine: AbstractJobEngine, database: Database, job: Job) -> None:
    listed(engine, "a", "b")
    fail_for_good(engine)
    assert get(engine, database, job).state is JobState.RUNNING
    fail_for_good(engine)
    assert get(engine, database, job).reason == "unit b: disk is on fire (tried 3 times)"
    assert (get(engine, database, job).state, get(engine, database, job).failed) == (JobState.FAILED, 2)


def test_a_job_whose_first_units_all_fail_is_not_run_to_its_end(engine: AbstractJobEngine, database: Database, job: Job) -> None:
    listed(engine, *(f"{number:03d}" for number in range(100)))
    for _ in range(10):
        assert get(engine, database, job).state is JobState.RUNNING
        fail_for_good(engine)
    assert (get(engine, database, job).state, get(engine, database, job).failed) == (JobState.FAILED, 10)


def test_a_failed_attempt_waits_before_the_next(database: Database, model: str) -> None:
    engine = SqlJobEngine(database, backoff_seconds=30.0)
    submit(engine, database, model)
    listed(engine, "a", "b")
    engine.fail(claim(engine), "not yet", permanent=False)
    assert claim(engine).unit == units("b")[0]
    assert engine.claim(worker()) is None
    assert engine.has_work(worker())


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
    listed(engine, "a", "b")
    for _ in range(3):
        assert claim(engine).unit == units("a")[0]
        let_leases_end(database)
    assert engine.claim(worker()) is None
    record(engine, claim(engine))
    engine.finish(claim(engine), ignore)
    ended = get(engine, database, job)
    assert (ended.state, ended.failed, ended.done) == (JobState.SUCCEEDED, 1, 1)
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
    assert engine.claim(worker()) is None
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
    assert engine.claim(worker()) is None
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


def test_a_job_that_is_deleted_while_it_is_read_is_not_found(database: Database, job: Job) -> None:
    with database.session() as session:
        row = find_job(session, job.id)
        session.execute(delete(JobRow).execution_options(synchronize_session=False))
        with pytest.raises(NotFoundError, match=job.id):
            snapshot(row)
