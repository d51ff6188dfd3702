"""A worker that gives way: it computes at a low priority, speaks to the database at its usual one, and keeps its lease."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import event
from sqlalchemy.orm import Session

from planner.jobs.engine import Job, JobState, UnitSpec
from planner.jobs.handler import AbstractJobHandler
from planner.jobs.sql_engine import SqlJobEngine
from planner.storage.database import Database
from planner.worker.clerk import Clerk, call_here, give_way
from planner.worker.loop import Worker
from tests.planner.storage.rows import add_model

KIND = "heavy"
LEASE_SECONDS, STEP_SECONDS = 1.0, 2.2

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere a niceness is the whole process's")


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


class Heavy(AbstractJobHandler):
    """One unit that computes in Python for longer than a lease."""

    def __init__(self) -> None:
        self.began = 0
        self.niceness = 0

    def enumerate(self, job: Job) -> list[UnitSpec]:
        return [UnitSpec("a", {})]

    def run(self, job: Job, unit: UnitSpec) -> NDArray[np.float64]:
        self.began += 1
        self.niceness = niceness()
        end, total = time.monotonic() + STEP_SECONDS, 0
        while time.monotonic() < end:
            total += 1
        return np.array([float(total > 0)])

    def finish(self, session: Session, job: Job, results: Sequence[tuple[str, NDArray[np.float64]]]) -> None:
        """Nothing to write."""


@pytest.fixture
def busy_processors() -> Iterator[None]:
    """As many processes that compute without end as there are processors."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    yield
    for process in spinning:
        process.kill()
        process.wait()


def test_a_clerk_calls_in_the_context_of_the_caller_and_raises_what_was_raised() -> None:
    word: ContextVar[str] = ContextVar("word")
    word.set("mine")
    clerk = Clerk()
    assert clerk.call(lambda: (word.get(), threading.current_thread().name)) == ("mine", "bitplan-clerk")
    with pytest.raises(ZeroDivisionError):
        clerk.call(lambda: 1 // 0)
    assert clerk.call(lambda: 7) == call_here(lambda: 7) == 7


@linux
def test_who_gives_way_is_a_thread_and_those_it_starts() -> None:
    usual = niceness()

    def giving() -> tuple[int, int, int]:
        clerk = Clerk()
        give_way(0)
        give_way(5)
        with ThreadPoolExecutor(1) as started:
            return niceness(), started.submit(niceness).result(), clerk.call(niceness)

    with ThreadPoolExecutor(1) as aside:
        mine, child, clerks = aside.submit(giving).result()
    assert mine == child == min(19, usual + 5)
    assert clerks == usual == niceness()


@linux
def test_on_busy_processors_a_worker_that_gives_way_keeps_its_lease_and_writes_at_its_usual_priority(
    database: Database, busy_processors: None
) -> None:
    engine, handler, written = SqlJobEngine(database, lease_seconds=LEASE_SECONDS), Heavy(), list[int]()
    model = add_model(database)
    with database.session() as session:
        job = engine.submit(session, kind=KIND, model_id=model, payload={})
    event.listen(database.engine, "commit", lambda _connection: written.append(niceness()))
    usual = niceness()

    def work() -> None:
        worker = Worker(engine, {KIND: handler}, poll_seconds=0.05, clerk=Clerk())
        give_way(19)
        worker.run(until_idle=True)

    with ThreadPoolExecutor(1) as aside:
        aside.submit(work).result()
    with database.read_session() as session:
        ended = engine.get(session, job.id)
    assert (ended.state, handler.began, ended.done) == (JobState.SUCCEEDED, 1, 1)
    assert handler.niceness == 19
    assert len(written) > STEP_SECONDS / LEASE_SECONDS  # each beat, and the steps
    assert set(written) == {usual}
