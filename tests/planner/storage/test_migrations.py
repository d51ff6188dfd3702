"""Empty → head on both databases, and no other version is worked with."""

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, inspect, text

from planner.errors import StorageError
from planner.storage.database import Database
from planner.storage.tables import Base

_ROOT = Path(__file__).parents[3]


def test_an_empty_database_reaches_the_tables_that_the_code_declares(empty_database_url: URL) -> None:
    database = Database(empty_database_url)
    database.upgrade()
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        assert set(inspect(connection).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
    database.close()


def test_upgrading_twice_changes_nothing(database: Database) -> None:
    database.upgrade()
    database.check_version()


def test_a_database_without_tables_says_what_to_run(empty_database_url: URL) -> None:
    database = Database(empty_database_url)
    with pytest.raises(StorageError, match="no tables yet; run `bitplan db upgrade`"):
        database.check_version()
    with pytest.raises(StorageError, match="Run `bitplan db upgrade`"), database.read_session() as session:
        session.execute(text("SELECT * FROM models"))
    database.close()


def test_a_database_of_a_newer_version_is_refused_and_not_touched(database: Database) -> None:
    with database.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'from_the_future'"))
    with pytest.raises(StorageError, match=r"newer version \(from_the_future\)"):
        database.check_version()
    with pytest.raises(StorageError, match=r"newer version \(from_the_future\)"):
        database.upgrade()
    with database.read_session() as session:
        assert session.scalar(text("SELECT version_num FROM alembic_version")) == "from_the_future"


def test_alembics_own_check_finds_nothing_to_migrate(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITPLAN_DATABASE_URL", database.full_url)
    config = Config(_ROOT / "alembic.ini")
    config.set_main_option("script_location", str(_ROOT / "migrations"))
    command.check(config)
