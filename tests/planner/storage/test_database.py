"""A session is one transaction; what goes wrong is one sentence and an advice."""

import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select, text
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.orm import Session

from planner.errors import StorageError
from planner.storage.database import Database
from planner.storage.tables import CalibrationSetRow, LayerRow


def calibration_row(name: str = "a") -> CalibrationSetRow:
    return CalibrationSetRow(
        id=name * 64, name=name, source="builtin", sequences=1, sequence_length=1, held_out_sequences=1, held_out_length=1,
        seed=0, characters=1, text=b"",
    )  # fmt: skip


def count(database: Database) -> int:
    with database.read_session() as session:
        return session.scalar(select(func.count()).select_from(CalibrationSetRow)) or 0


def test_a_session_commits_at_its_end_and_keeps_nothing_of_a_failure(database: Database) -> None:
    with database.session() as session:
        session.add(calibration_row("a"))
    with pytest.raises(IntegrityError), database.session() as session:
        session.add_all([calibration_row("b"), calibration_row("a")])
    assert count(database) == 1


def test_times_come_back_as_aware_utc(database: Database) -> None:
    row = calibration_row()
    row.created_at = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC) + timedelta(hours=0)
    with database.session() as session:
        session.add(row)
    with database.read_session() as session:
        stored = session.scalar(select(CalibrationSetRow.created_at))
    assert stored == row.created_at
    assert stored is not None
    assert stored.tzinfo is UTC


def test_a_naive_time_is_refused(database: Database) -> None:
    row = calibration_row()
    row.created_at = datetime(2026, 1, 2)
    with pytest.raises(StatementError, match="without a zone"), database.session() as session:
        session.add(row)


def test_foreign_keys_are_enforced(database: Database) -> None:
    orphan = LayerRow(
        model_id="none", position=0, name="a", kind="q", out_features=1, in_features=1, active_fraction=1.0,
    )  # fmt: skip
    with pytest.raises(IntegrityError), database.session() as session:
        session.add(orphan)


@pytest.mark.parametrize("together", [True, False])
def test_a_read_session_refuses_to_write_and_the_next_session_writes(database: Database, together: bool) -> None:
    with pytest.raises(StorageError, match="writable"), database.read_session(together=together) as session:
        session.execute(delete(CalibrationSetRow))
    with database.session() as session:
        session.add(calibration_row())
    assert count(database) == 1


def test_a_reader_waits_for_no_writer(database: Database) -> None:
    with database.session() as writer:
        writer.add(calibration_row())
        writer.flush()
        assert count(database) == 0
    assert count(database) == 1


def test_read_modify_write_in_threads_loses_no_update(database: Database) -> None:
    with database.session() as session:
        session.add(calibration_row())

    def increment() -> None:
        for _ in range(10):
            with database.session() as session:
                row = session.scalars(select(CalibrationSetRow).with_for_update()).one()
                row.seed += 1

    threads = [threading.Thread(target=increment) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read_session() as session:
        assert session.scalar(select(CalibrationSetRow.seed)) == 40


def test_the_databases_clock_is_near_ours(database: Database) -> None:
    with database.session() as session:
        assert abs(database.now(session) - datetime.now(UTC)) < timedelta(seconds=5)


def test_sqlite_runs_in_wal_mode(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new' / 'a.db'}")
    database.upgrade()
    with database.read_session() as session:
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"
        assert session.scalar(text("PRAGMA busy_timeout")) == 30_000
    database.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite://", "in-memory"),
        ("sqlite:///:memory:", "in-memory"),
        ("mysql://host/name", "does not run on 'mysql'"),
        ("no url at all", "cannot be read"),
    ],
)
def test_a_url_that_cannot_work_is_refused(url: str, said: str) -> None:
    with pytest.raises(StorageError, match=said):
        Database(url)


def test_an_unreachable_server_is_one_sentence_without_the_password() -> None:
    database = Database("postgresql://someone:secret@127.0.0.1:1/nothing")
    with pytest.raises(StorageError, match="BITPLAN_DATABASE_URL") as caught, database.session() as session:
        session.execute(text("SELECT 1"))
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    database.close()


def test_a_missing_folder_says_so(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'missing' / 'a.db'}")
    with pytest.raises(StorageError, match="folder exists"), database.session() as session:
        session.execute(text("SELECT 1"))


def test_a_data_folder_that_cannot_be_made_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="BITPLAN_DATA_DIR"):
        Database(f"sqlite:///{tmp_path / 'file' / 'a.db'}").upgrade()


def test_a_read_only_sqlite_file_is_readable_and_says_that_it_is_read_only(sqlite_template: Path) -> None:
    database = Database(f"sqlite:///file:{sqlite_template}?mode=ro&uri=true")
    assert count(database) == 0
    with pytest.raises(StorageError, match="writable"), database.session() as session:
        session.add(calibration_row())
    database.close()


def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"certainly not SQLite " * 100)
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    with pytest.raises(StorageError, match="restore a backup"):
        database.upgrade()
    database.close()


def test_a_full_disk_keeps_nothing_half_written(sqlite_template: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{path}")
    row = calibration_row()
    row.text = b"x" * 1_000_000
    with database.session() as session:
        session.execute(text("PRAGMA max_page_count=1"))  # of the pooled connection, which the next session takes again
    with pytest.raises(StorageError, match="space"), database.session() as session:
        session.add(row)
    database.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM calibration_sets").fetchone() == (0,)
    connection.close()


def test_write_sessions_of_one_transaction_are_committed_together(database: Database) -> None:
    begun: list[Session] = []
    with database.one_transaction(begun.append) as joined:
        with joined.read_session() as session:
            assert session.scalar(select(func.count()).select_from(CalibrationSetRow)) == 0
        assert begun == []
        for number in range(2):
            with joined.session() as session:
                session.add(calibration_row("ab"[number]))
        assert len(begun) == 1
        assert count(database) == 0
    assert count(database) == 2


def _write_and_fail(database: Database, name: str) -> None:
    with database.session() as session:
        session.add(calibration_row(name))
        session.flush()
        raise ZeroDivisionError


def test_one_transaction_that_fails_leaves_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.one_transaction(lambda _session: None) as joined:
        _write_and_fail(joined, "a")
    assert count(database) == 0


def test_a_write_session_that_fails_does_not_undo_the_others_of_its_transaction(database: Database) -> None:
    with database.one_transaction(lambda _session: None) as joined:
        with joined.session() as session:
            session.add(calibration_row("a"))
        with pytest.raises(ZeroDivisionError):
            _write_and_fail(joined, "b")
    assert count(database) == 1


def test_one_transaction_without_a_write_session_begins_none(database: Database) -> None:
    with database.one_transaction(lambda _session: pytest.fail("nothing is written")):
        pass
