"""Copies of a whole database, consistent while others write. A copy is there whole, or not at all."""

import os
import secrets
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import URL

from planner.errors import StorageError
from planner.storage.checkup import refuse_missing
from planner.storage.database import Database

_DUMP: Final = "pg_dump"


def back_up(database: Database, target: Path) -> int:
    """Copy the database to a file that only its owner can read; it may hold calibration texts.

    SQLite's own backup copies one snapshot in one step, which is then checked; writers go on meanwhile. The copy is a
    database: to restore it, put it in the place of the other. PostgreSQL is copied by ``pg_dump`` in its custom format, for
    ``pg_restore``. The version of the schema does not matter, so that a copy can be made before an upgrade.

    Args:
        database: what to copy.
        target: the file to write, which must not exist yet.

    Returns:
        Bytes of the copy.

    Raises:
        StorageError: the file exists or cannot be written, the database cannot be read or is damaged, or ``pg_dump`` is missing
            or fails.
    """
    refuse_missing(database)
    with _whole_or_nothing(target) as partial:
        (_copy_sqlite if database.is_sqlite else _dump_postgresql)(database, partial)
    return target.stat().st_size


def dump_command(url: URL, target: Path, *, program: str = _DUMP) -> list[str]:
    """The arguments of ``pg_dump`` that copy a database; the password is not among them, others could see it."""
    address = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
    return [program, "--format=custom", "--no-password", f"--file={target}", f"--dbname={address.render_as_string()}"]


@contextmanager
def _whole_or_nothing(target: Path) -> Iterator[Path]:
    """A new, empty file beside the target, synchronised and renamed to it at the end, and removed if anything fails."""
    if target.exists():
        msg = f"{target} exists already and is not overwritten; name another file"
        raise StorageError(msg)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL, 0o600))
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.rename(target)
    except OSError as error:
        msg = f"cannot write the backup {target}: {error.strerror or error}. Free space there, or name another file"
        raise StorageError(msg) from error
    finally:
        partial.unlink(missing_ok=True)


def _copy_sqlite(database: Database, partial: Path) -> None:
    with database.read_session() as session, closing(sqlite3.connect(partial)) as copy:
        source = session.connection().connection.driver_connection
        assert isinstance(source, sqlite3.Connection)  # noqa: S101  (the only driver for SQLite here)
        try:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.OperationalError as error:
            msg = f"cannot write the backup ({error}). Free space where it goes, or name another file"
            raise StorageError(msg) from error
        fault = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if fault != "ok":
        msg = f"the database is damaged ({fault}), so is its copy: restore an older backup. Nothing was written"
        raise StorageError(msg)


def _dump_postgresql(database: Database, partial: Path) -> None:
    program = shutil.which(_DUMP)
    if program is None:
        said = " ".join(dump_command(database.url, Path("FILE")))
        msg = f"{_DUMP} is not on the PATH; install PostgreSQL's client programs, or run where they are: {said}"
        raise StorageError(msg)
    given = {} if database.url.password is None else {"PGPASSWORD": str(database.url.password)}
    command = dump_command(database.url, partial, program=program)
    done = subprocess.run(command, env=os.environ | given, capture_output=True, text=True, check=False)  # noqa: S603  (our own)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        msg = f"{_DUMP} failed: {reason}. Its version must not be older than the server's; nothing was written"
        raise StorageError(msg)
