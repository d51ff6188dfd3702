"""The engines that have to keep the contract; the next one is one more value of ``engine``."""

import pytest

from planner.jobs.engine import AbstractJobEngine, Job
from planner.jobs.sql_engine import SqlJobEngine
from planner.storage.database import Database
from tests.planner.jobs.steps import LEASE_SECONDS, submit
from tests.planner.storage.rows import add_model


@pytest.fixture
def model(database: Database) -> str:
    return add_model(database)


@pytest.fixture
def engine(database: Database, model: str) -> AbstractJobEngine:
    return SqlJobEngine(database, lease_seconds=LEASE_SECONDS, max_attempts=3, backoff_seconds=0.0)


@pytest.fixture
def job(engine: AbstractJobEngine, database: Database, model: str) -> Job:
    return submit(engine, database, model)
