"""The contract of a job engine: who may record what, when workers die, freeze or meet."""

import threading
from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import func, select, update

from planner.jobs.engine import AbstractJobEngine, Job, Lease, Step
from planner.jobs.errors import LeaseLostError
from planner.storage.database import Database
from planner.storage.tables import ModelRow, UnitRow
from tests.planner.jobs.steps import claim, get, ignore, let_leases_end, listed, record, units, worker


def test_a_dead_workers_unit_is_taken_after_its_lease_and_the_zombie_is_fenced_off(
    engine: AbstractJobEngine, database: Database, job: Job
) -> None:
    listed(engine, "a")
    zombie = claim(engine, "zombie")
    assert engine.claim(worker("other")) is None
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
    assert engine.claim(worker("other")) is None


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
    assert engine.claim(worker("other")) is None
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


def test_many_claimers_share_the_units_without_a_double(engine: AbstractJobEngine, database: Database, job: Job) -> None:
    listed(engine, *(f"{number:03d}" for number in range(40)))
    done: list[str] = []

    def work(name: str) -> None:
        while (lease := engine.claim(worker(name))) is not None and lease.unit is not None:
            record(engine, lease)
            done.append(lease.unit.key)

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [f"{number:03d}" for number in range(40)]
    assert get(engine, database, job).done == 40
