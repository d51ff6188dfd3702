"""Short words for the steps of a job, as a worker takes them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import update
from sqlalchemy.orm import Session

from planner.jobs.engine import AbstractJobEngine, Job, Lease, Step, Terms, UnitSpec, WorkerProfile
from planner.storage.database import Database
from planner.storage.tables import JobRow, UnitRow

KIND = "fake"
LEASE_SECONDS = 60.0


def worker(name: str = "w", **facts: Any) -> WorkerProfile:
    return WorkerProfile(name, **({"kinds": [KIND]} | facts))


def submit(engine: AbstractJobEngine, database: Database, model: str, **terms: Any) -> Job:
    with database.session() as session:
        return engine.submit(session, kind=KIND, model_id=model, payload={"n": 1}, terms=Terms(**terms))


def get(engine: AbstractJobEngine, database: Database, job: Job) -> Job:
    with database.read_session() as session:
        return engine.get(session, job.id)


def claim(engine: AbstractJobEngine, name: str = "w") -> Lease:
    lease = engine.claim(worker(name))
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
