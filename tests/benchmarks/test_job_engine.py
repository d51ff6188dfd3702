"""The job engine by itself: what a unit costs beside its work, and jobs of ten thousand units; on both databases."""

import sys
import time
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.jobs.engine import Job, JobState, UnitSpec, WorkerProfile
from planner.jobs.handler import AbstractJobHandler
from planner.jobs.sql_engine import SqlJobEngine
from planner.storage.database import Database
from planner.worker.loop import Worker
from tests.planner.storage.rows import add_model

pytestmark = pytest.mark.benchmark
KIND = "timed"
UNITS = 10_000
SHOWN = WorkerProfile("benchmark", [KIND])
RESULT = np.zeros((210, 8, 3))
"""As large as that of a probe over 210 layers and 8 formats: 40 kB."""


class Sleeper(AbstractJobHandler):
    """Units that take a while and know when they began and ended."""

    def __init__(self, units: int, seconds: float) -> None:
        self.units, self.seconds = units, seconds
        self.begun: list[float] = []
        self.ended: list[float] = []

    def enumerate(self, job: Job) -> list[UnitSpec]:
        return [UnitSpec(f"{number:06d}", {"indices": [number]}) for number in range(self.units)]

    def run(self, job: Job, unit: UnitSpec) -> NDArray[np.float64]:
        self.begun.append(time.perf_counter())
        time.sleep(self.seconds)
        self.ended.append(time.perf_counter())
        return RESULT

    def finish(self, session: Session, job: Job, results: Sequence[tuple[str, NDArray[np.float64]]]) -> None:
        assert len(results) == self.units


def _submit(engine: SqlJobEngine) -> Job:
    model = add_model(engine.database)
    with engine.database.session() as session:
        return engine.submit(session, kind=KIND, model_id=model, payload={})


def _say(capsys: pytest.CaptureFixture[str], database: Database, *lines: str) -> None:
    with capsys.disabled():
        sys.stdout.write("".join(f"\n{database.url.get_backend_name()}: {line}" for line in lines))


def test_what_a_unit_of_a_second_costs_beside_its_second(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """From the end of a unit to the beginning of the next: result, heartbeat and claim, with 40 kB a result."""
    engine, sleeper = SqlJobEngine(database), Sleeper(10, 1.0)
    _submit(engine)
    begin = time.process_time()
    Worker(engine, {KIND: sleeper}, poll_seconds=0.02).run(until_idle=True)
    processor = (time.process_time() - begin) / sleeper.units
    gaps = np.array(sleeper.begun[1:]) - np.array(sleeper.ended[:-1])
    gap = float(np.median(gaps))
    _say(
        capsys,
        database,
        f"between units of a second {gap * 1000:.1f} ms ({gap:.2%}), at most {gaps.max() * 1000:.1f} ms",
        f"processor {processor * 1000:.1f} ms a unit",
    )
    assert processor < 0.05
    assert gap < 0.05


def test_jobs_of_ten_thousand_units(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    engine = SqlJobEngine(database)
    job = _submit(engine)
    units = Sleeper(UNITS, 0.0).enumerate(job)
    lease = engine.claim(SHOWN)
    assert lease is not None
    begin = time.perf_counter()
    engine.record_units(lease, units)
    enqueued = time.perf_counter() - begin
    taken = []
    for _ in range(50):
        begin = time.perf_counter()
        lease = engine.claim(SHOWN)
        assert lease is not None
        engine.record_result(lease, RESULT, seconds=1.0)
        taken.append(time.perf_counter() - begin)
    begin = time.perf_counter()
    with database.session() as session:
        assert engine.cancel(session, job.id).state is JobState.CANCELLED
    assert engine.claim(SHOWN) is None
    cancelled = time.perf_counter() - begin
    unit = float(np.median(taken))
    _say(
        capsys,
        database,
        f"{UNITS:,} units enqueued in {enqueued:.2f} s, cancelled in {cancelled * 1000:.1f} ms",
        f"claim and record one of {UNITS:,}: {unit * 1000:.1f} ms",
    )
    assert enqueued < 10.0
    assert cancelled < 1.0
    assert unit < 0.05
