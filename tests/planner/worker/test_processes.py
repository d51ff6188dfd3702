"""Real worker processes that are killed, frozen, stopped and cut off: nothing is lost, nothing is recorded twice."""

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from planner.errors import StorageError
from planner.jobs.engine import Job, JobState
from planner.jobs.sql_engine import SqlJobEngine
from planner.storage.database import Database
from planner.storage.tables import UnitRow
from tests.planner.storage.rows import add_model
from tests.planner.worker import fake

LEASE_SECONDS = 1.5
LAYERS = 3
PATIENCE_SECONDS = 60.0


class Site:
    """A database, a job on it, and the processes that work on it."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.diary = folder / "diary"
        self.diary.touch()
        self.model = add_model(database, layers=LAYERS)
        self.engine = SqlJobEngine(database, lease_seconds=LEASE_SECONDS)
        self.processes: list[ForkServerProcess] = []
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.planner.worker.fake"])

    def submit(self, **payload: Any) -> Job:
        with self.database.session() as session:
            return self.engine.submit(session, kind=fake.KIND, model_id=self.model, payload=payload)

    def start(self, **options: Any) -> ForkServerProcess:
        url = self.database.full_url
        given = {"lease_seconds": LEASE_SECONDS, **options}
        process = self._context.Process(target=fake.work, args=(url, str(self.diary)), kwargs=given)
        process.start()
        self.processes.append(process)
        return process

    def started(self) -> list[tuple[str, int]]:
        """Keys and process ids of all units that were begun, in order."""
        lines = [line.split() for line in self.diary.read_text().splitlines()]
        return [(key, int(pid)) for key, pid in lines]

    def outcome(self, job: Job) -> fake.Outcome:
        return fake.outcome(self.database, job.id, parameters=LAYERS)

    def is_at(self, job: Job, done: int) -> bool:
        try:
            return self.outcome(job).job.done >= done
        except StorageError:  # connections in steady use are not asked whether they live: a cut one costs a question
            return False

    def has_ended(self, job: Job) -> bool:
        try:
            return self.outcome(job).job.state.is_final
        except StorageError:
            return False

    def end(self, job: Job) -> fake.Outcome:
        wait(partial(self.has_ended, job))
        return self.outcome(job)


def wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def kill(process: ForkServerProcess, number: int = signal.SIGKILL) -> None:
    assert process.pid is not None
    os.kill(process.pid, number)


def assert_complete(outcome: fake.Outcome, units: int) -> None:
    """Every unit once, reduced once, and to the same bits as without any accident."""
    assert (outcome.job.state, outcome.job.reason) == (JobState.SUCCEEDED, None)
    assert outcome.job.total == outcome.job.done == outcome.results == units
    assert outcome.states == {"succeeded": units}
    assert outcome.finished == 1
    assert outcome.source == fake.total([f"{number:03d}" for number in range(units)])


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Iterator[Site]:
    site = Site(database, tmp_path)
    yield site
    for process in site.processes:
        process.kill()
        process.join()
        process.close()


def test_killed_workers_lose_nothing_and_double_nothing(site: Site) -> None:
    job = site.submit(units=24, seconds=0.05)
    victims = [site.start(), site.start()]
    for victim, least in zip(victims, (4, 12), strict=True):
        wait(partial(site.is_at, job, least))
        kill(victim)
        site.start()
    assert_complete(site.end(job), 24)
    twice = [key for key, times in Counter(key for key, _ in site.started()).items() if times > 1]
    assert len(twice) <= len(victims)


def test_two_workers_share_a_job(site: Site) -> None:
    job = site.submit(units=16, seconds=0.1)
    both = [site.start(), site.start()]
    assert_complete(site.end(job), 16)
    for process in both:
        process.join(PATIENCE_SECONDS)
        assert process.exitcode == 0
    assert len(site.started()) == 16
    assert len({pid for _, pid in site.started()}) == 2


def test_a_frozen_worker_that_wakes_up_is_fenced_off(site: Site) -> None:
    job = site.submit(units=3, seconds=0.5)
    zombie = site.start()
    wait(site.started)
    kill(zombie, signal.SIGSTOP)
    site.start()
    assert_complete(site.end(job), 3)
    with site.database.read_session() as session:
        before = session.execute(select(UnitRow.key, UnitRow.result, UnitRow.finished_at)).all()
    kill(zombie, signal.SIGCONT)
    zombie.join(PATIENCE_SECONDS)
    assert zombie.exitcode == 0
    with site.database.read_session() as session:
        assert session.execute(select(UnitRow.key, UnitRow.result, UnitRow.finished_at)).all() == before
    assert_complete(site.outcome(job), 3)
    assert Counter(key for key, _ in site.started())["000"] == 2


def test_a_unit_that_kills_its_workers_fails_alone_and_the_job_completes(site: Site) -> None:
    job = site.submit(units=3, poison="001")
    for _ in range(3):
        victim = site.start()
        victim.join(PATIENCE_SECONDS)
        assert victim.exitcode == -signal.SIGKILL
    survivor = site.start()
    survivor.join(PATIENCE_SECONDS)
    assert survivor.exitcode == 0
    ended = site.end(job)
    assert (ended.job.state, ended.job.done, ended.job.failed, ended.finished) == (JobState.SUCCEEDED, 2, 1, 1)
    assert "unit 001: its worker died 3 times" in (ended.job.reason or "")
    assert ended.source == fake.total(["000", "002"])


def test_a_stopped_worker_ends_its_unit_first(site: Site) -> None:
    job = site.submit(units=3, seconds=0.8)
    process = site.start(until_idle=False)
    wait(site.started)
    kill(process, signal.SIGTERM)
    process.join(PATIENCE_SECONDS)
    assert process.exitcode == 0
    assert site.outcome(job).states == {"succeeded": 1, "queued": 2}


@pytest.mark.parametrize("how", ["second signal", "end of the grace"])
def test_a_worker_in_a_hurry_gives_its_unit_back(site: Site, how: str) -> None:
    job = site.submit(units=1, seconds=PATIENCE_SECONDS)
    process = site.start(until_idle=False, grace_seconds=0.2 if how == "end of the grace" else PATIENCE_SECONDS)
    wait(site.started)
    kill(process, signal.SIGINT)
    if how == "second signal":
        time.sleep(0.1)
        assert process.exitcode is None
        kill(process, signal.SIGTERM)
    process.join(PATIENCE_SECONDS / 2)
    assert process.exitcode == 0
    with site.database.read_session() as session:
        unit = session.scalars(select(UnitRow).where(UnitRow.job_id == job.id)).one()
    assert (unit.state, unit.attempts, unit.lease_token) == ("queued", 0, None)


def test_workers_outlive_connections_that_break_and_a_database_that_is_busy(site: Site) -> None:
    job = site.submit(units=10, seconds=0.05)
    site.start()
    site.start()
    for least in (2, 5):
        wait(partial(site.is_at, job, least))
        _disturb(site.database)
    assert_complete(site.end(job), 10)


def _disturb(database: Database) -> None:
    """Cut everybody else's connection; SQLite has none, so hold its one write lock."""
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    with database.session() as session:
        if database.is_sqlite:
            time.sleep(0.3)
        else:
            session.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))  # noqa: S608
