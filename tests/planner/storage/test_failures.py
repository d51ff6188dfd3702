"""A driver's error becomes a sentence of what happened and one of what to do."""

import sqlite3
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy import make_url, text

from planner.errors import StorageError
from planner.storage.database import Database
from planner.storage.failures import MEANWHILE, conflict_of, storage_error
from planner.storage.tables import JobRow
from tests.planner.storage.rows import add_model

URL = make_url("postgresql+psycopg://bitplan:secret@host/bitplan")


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (sqlite3.OperationalError("database or disk is full"), "Free some space"),
        (psycopg.errors.DiskFull('could not extend file "base/5/16384": No space left on device'), "Free some space"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "writable"),
        (psycopg.errors.ReadOnlySqlTransaction("cannot execute UPDATE in a read-only transaction"), "a role that may write"),
        (psycopg.errors.FeatureNotSupported("cannot set transaction read-write mode during recovery"), "no standby"),
        (psycopg.errors.InsufficientPrivilege("permission denied for table jobs"), "Grant the role"),
        (psycopg.OperationalError("the connection is lost"), "Check that the server runs"),
        (psycopg.errors.CannotConnectNow("FATAL:  the database system is starting up"), "try again"),
    ],
)
def test_the_advice_fits_the_error(error: Exception, advice: str) -> None:
    said = str(storage_error(URL, error))
    assert advice in said
    assert str(error).strip() in said
    assert "secret" not in said


def test_connections_that_could_not_write_are_closed(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'bitplan.db'}")
    database.upgrade()
    with database.read_session() as session, database.read_session() as other:
        session.connection(), other.connection()
    with pytest.raises(StorageError, match="readonly database"), database.read_session() as session:
        session.execute(text("DELETE FROM jobs"))
    assert [file.path for file in psutil.Process().open_files() if file.path.startswith(str(tmp_path))] == []
    with database.session() as session:
        assert session.scalar(text("SELECT 1")) == 1
    database.close()


def test_a_reference_to_what_is_gone_is_a_conflict_and_a_key_that_is_there_is_none(database: Database) -> None:
    model = add_model(database, layers=1)
    found = []
    for identity, of in (("a", "none"), ("b", model), ("b", model)):
        try:
            with database.session() as session:
                session.add(JobRow(id=identity, kind="fake", model_id=of, payload={}))
        except MEANWHILE as error:
            found.append(conflict_of(error))
    assert [error is not None for error in found] == [True, False]


def test_a_row_that_is_gone_is_a_conflict(database: Database) -> None:
    with pytest.raises(MEANWHILE) as raised, database.read_session() as session:
        session.get_one(JobRow, "none")
    assert "ask again" in str(conflict_of(raised.value))
