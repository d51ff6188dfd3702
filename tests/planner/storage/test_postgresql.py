"""Connections to PostgreSQL end when the other side is gone."""

import time

import pytest
from sqlalchemy import URL, text

from planner.errors import StorageError
from planner.storage import postgresql
from planner.storage.database import Database
from planner.storage.postgresql import postgresql_engine


def stand_still(database: Database) -> None:
    with database.session() as session:
        session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 1"))
        time.sleep(0.2)
        session.execute(text("SELECT 1"))


def test_a_transaction_that_stands_still_is_ended_by_the_server(postgresql_database: URL) -> None:
    database = Database(postgresql_database)
    with database.read_session() as session:
        assert session.scalar(text("SHOW idle_in_transaction_session_timeout")) == "5min"
    with pytest.raises(StorageError, match="try again"):
        stand_still(database)
    with database.session() as session:  # on a connection of its own
        assert session.scalar(text("SELECT 1")) == 1
    database.close()


def test_what_the_url_says_of_a_connection_wins(postgresql_database: URL) -> None:
    engine = postgresql_engine(postgresql_database.update_query_dict({"keepalives_idle": "7"}))
    with engine.connect() as connection:
        parameters = connection.connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]
    engine.dispose()
    assert (parameters["keepalives_idle"], parameters["keepalives_count"]) == ("7", "4")


def end_all_but_ours(database: Database) -> None:
    """What a server does that is restarted, to the connections that lie ready."""
    with database.session() as session:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = current_user"
        session.execute(text(others))


def test_a_connection_that_lay_still_is_asked_whether_it_is_alive(
    postgresql_database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(postgresql_database)
    monkeypatch.setattr(postgresql, "_QUIET_SECONDS", 0.0)
    with database.read_session() as session, database.read_session() as other:
        assert session.scalar(text("SELECT 1")) == other.scalar(text("SELECT 1")) == 1
    end_all_but_ours(database)
    with database.read_session() as session, database.read_session() as other:
        assert session.scalar(text("SELECT 1")) == other.scalar(text("SELECT 1")) == 1
    database.close()


def test_a_connection_in_steady_use_that_broke_costs_one_request(postgresql_database: URL) -> None:
    database = Database(postgresql_database)
    with database.read_session() as session, database.read_session() as other:
        assert session.scalar(text("SELECT 1")) == other.scalar(text("SELECT 1")) == 1
    end_all_but_ours(database)
    with pytest.raises(StorageError, match="try again"), database.read_session() as session:
        session.scalar(text("SELECT 1"))
    with database.read_session() as session, database.read_session() as other:
        assert session.scalar(text("SELECT 1")) == other.scalar(text("SELECT 1")) == 1
    database.close()
