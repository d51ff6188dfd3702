"""A handler without a model, and a worker process that runs it: small enough to be killed dozens of times."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from planner.jobs.engine import Job, UnitSpec
from planner.jobs.handler import AbstractJobHandler
from planner.jobs.sql_engine import SqlJobEngine
from planner.storage.database import Database
from planner.storage.tables import ModelRow, UnitRow
from planner.worker.loop import Worker

KIND = "fake"


def value(key: str) -> NDArray[np.float64]:
    """The result of a unit: numbers whose sum depends on the order of adding."""
    return np.random.default_rng(int(key)).standard_normal(3) * 10.0 ** (int(key) % 7)


def total(keys: Sequence[str]) -> str:
    """What ``finish`` writes, computed in one go."""
    return repr(sum((value(key) for key in sorted(keys)), np.zeros(3)).tolist())


@dataclass(frozen=True, slots=True)
class FakeHandler(AbstractJobHandler):
    """Units ``000 001 …``; the job's payload says how many, how long each takes, and which of them kills its worker.

    ``run`` notes every start in ``diary``. ``finish`` writes the sum into the model's ``source`` and counts itself in
    ``parameters``, so that a second time would show.
    """

    diary: Path

    def enumerate(self, job: Job) -> list[UnitSpec]:
        return [UnitSpec(f"{number:03d}", {}) for number in range(job.payload["units"])]

    def run(self, job: Job, unit: UnitSpec) -> NDArray[np.float64]:
        with self.diary.open("a") as diary:
            diary.write(f"{unit.key} {os.getpid()}\n")
        if unit.key == job.payload.get("poison"):
            os.kill(os.getpid(), signal.SIGKILL)
        end = time.monotonic() + job.payload.get("seconds", 0.0)
        while time.monotonic() < end:  # a signal may break in at each turn, as between batches of a real unit
            time.sleep(0.01)
        return value(unit.key)

    def finish(self, session: Session, job: Job, results: Sequence[tuple[str, NDArray[np.float64]]]) -> None:
        summed = repr(sum((result for _, result in results), np.zeros(3)).tolist())
        found = update(ModelRow).where(ModelRow.id == job.model_id)
        session.execute(found.values(source=summed, parameters=ModelRow.parameters + 1))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job left behind."""

    job: Job
    source: str
    finished: int
    results: int
    states: dict[str, int]


def outcome(database: Database, job_id: str, *, parameters: int) -> Outcome:
    """Job, reduction and units as stored; ``parameters`` is what the model had before."""
    with database.read_session() as session:
        job = SqlJobEngine(database).get(session, job_id)
        model = session.get_one(ModelRow, job.model_id)
        of_job = UnitRow.job_id == job_id
        results = session.scalar(select(func.count()).where(of_job, UnitRow.result.is_not(None)))
        counted = session.execute(select(UnitRow.state, func.count()).where(of_job).group_by(UnitRow.state)).all()
        return Outcome(job, model.source, model.parameters - parameters, results or 0, {row[0]: row[1] for row in counted})


def work(url: str, diary: str, *, lease_seconds: float, grace_seconds: float = 30.0, until_idle: bool = True) -> None:
    """A whole worker process."""
    engine = SqlJobEngine(Database(url), lease_seconds=lease_seconds, backoff_seconds=0.0)
    worker = Worker(engine, {KIND: FakeHandler(Path(diary))}, poll_seconds=0.02, grace_seconds=grace_seconds)
    worker.stop_on_signals()
    worker.run(until_idle=until_idle)
