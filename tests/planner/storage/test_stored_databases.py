"""Databases as past versions stored them upgrade to this one, lose nothing, and are read and planned from by today's services."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, URL, column, create_engine, func, inspect, select, table, update

from planner.schemas.plans import PlanRequest
from planner.services import calibrations, curves, devices, jobs, models, plan_listing, plans
from planner.services.planning_inputs import find_model
from planner.storage.checkup import check_up
from planner.storage.database import Database
from planner.storage.job_summaries import LEFT_OUT, LONGEST, summary_of
from planner.storage.tables import JobRow
from tests.planner.storage.store_database import FOLDER

STORED = sorted({path.name.split(".")[0] for path in FOLDER.glob("*.sql")})
FORMATS = ["INT3_G64", "INT4_G64", "INT8_G64"]


def revisions() -> list[str]:
    """Every version of the schema, oldest first."""
    config = Config()
    config.set_main_option("script_location", "migrations:")
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()][::-1]


@pytest.fixture(params=STORED)
def stored(request: pytest.FixtureRequest, empty_database_url: URL) -> Iterator[Database]:
    """A database as it was stored."""
    backend = empty_database_url.get_backend_name()
    statements = (FOLDER / f"{request.param}.{backend}.sql").read_text()
    if backend == "sqlite":
        with closing(sqlite3.connect(str(empty_database_url.database))) as connection:
            connection.executescript(statements)
    else:
        engine = create_engine(empty_database_url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statements)
        engine.dispose()
    database = Database(empty_database_url)
    yield database
    database.close()


def counts(database: Database) -> dict[str, int]:
    with database.engine.connect() as connection:
        names = set(inspect(connection).get_table_names()) - {"alembic_version"}
        return {name: connection.scalar(select(func.count()).select_from(table(name))) or 0 for name in names}


def test_it_upgrades_and_everything_in_it_is_read(stored: Database) -> None:
    before = counts(stored)
    assert min(before.values()) > 0
    stored.upgrade()
    found = check_up(stored)
    assert found.faults == ()
    assert before.items() <= found.rows.items()
    with stored.read_session() as session:
        model = find_model(session, "toy").id
        assert models.get_model(session, model).layers == len(models.list_layers(session, model).items) == 8
        assert [item.name for item in calibrations.list_calibrations(session).items] == ["toy text"]
        cells = curves.get_curves(session, model).items
        assert sorted({cell.format for cell in cells}) == FORMATS
        assert len(cells) == 21
        assert [job.id for job in jobs.list_jobs(session).items] == ["id"]
        stored_devices = [item for item in devices.list_devices(session).items if not item.built_in]
        assert len(stored_devices) == before.get("devices", 0)
        assert all(len(devices.get_device(session, item.name).table) == item.measured_entries == 1 for item in stored_devices)
        (summary,) = plan_listing.list_plans(session).items
        document = plans.get_plan(session, summary.id)
        assert document.size.effective_bits <= 4.5
        assert {choice.format for choice in document.choices} <= set(FORMATS)
        again = plans.make_plan(session, PlanRequest.model_validate({"model": model, "budget": {"effective_bits": 4.5}}))
    assert again.size.effective_bits <= 4.5
    assert [choice.layer for choice in again.choices] == [choice.layer for choice in document.choices]


@pytest.mark.parametrize("stored", ["file_facts"], indirect=True)
def test_jobs_of_before_get_the_summaries_that_new_ones_have(stored: Database) -> None:
    payload = {
        "probe": "kl",
        "layers": ["é"] * (LONGEST + 1),
        "cells": {"a layer": ["x" * LONGEST]},
        "formats": ["x" * (LONGEST - 4)],  # as long as may be
        "text": "x" * (2 * LONGEST),
        "calibration_id": None,
    }
    with stored.engine.begin() as connection:
        connection.execute(update(table("jobs", column("payload", JSON()))).values(payload=payload))
    stored.upgrade()
    with stored.read_session() as session:
        (row,) = session.scalars(select(JobRow)).all()
        assert row.payload == payload
        assert row.summary == summary_of(payload)
    assert row.summary[LEFT_OUT] == {"layers": LONGEST + 1, "cells": 1}


def test_every_version_but_the_newest_is_stored() -> None:
    """The newest is stored when it is released, at the latest before the next migration is written."""
    missing = [revision for revision in revisions()[:-1] if revision not in STORED]
    assert not missing, f"store {missing}: python -m tests.planner.storage.store_database, in the commit of each"
    assert set(STORED) <= set(revisions())
