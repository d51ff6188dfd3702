"""What can be said of a stored database without trusting it: its version, its structure, its references, its rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from planner.errors import StorageError
from planner.storage.database import Database
from planner.storage.tables import Base

_MOST_FAULTS: Final = 20
_TABLES: Final = sorted(Base.metadata.tables.items())
_UNUSABLE: Final = text(
    "SELECT 'the index ' || indexrelid::regclass || ' is not usable: run REINDEX INDEX ' || indexrelid::regclass "
    "FROM pg_index WHERE NOT (indisvalid AND indisready) "
    "UNION ALL SELECT 'the constraint ' || conname || ' of ' || conrelid::regclass || ' was never validated' "
    "FROM pg_constraint WHERE NOT convalidated AND conrelid <> 0"
)


@final
@dataclass(frozen=True, slots=True)
class Checkup:
    """What was found.

    Attributes:
        size_bytes: bytes of the database, without SQLite's write-ahead log.
        rows: rows of each table.
        faults: what is wrong, in words; empty for a sound database.
    """

    size_bytes: int
    rows: Mapping[str, int]
    faults: tuple[str, ...]


def check_up(database: Database) -> Checkup:
    """Read the whole database and compare it with itself. Writers are not held up; a large SQLite file takes minutes.

    SQLite checks its pages, its indexes and every reference. PostgreSQL keeps its references itself, so only what it knows to be
    unusable is listed; torn pages are found by its own checksums and by ``pg_amcheck``.

    Raises:
        StorageError: there is no such database, it is of another version, or so damaged that it cannot be read.
    """
    refuse_missing(database)
    database.check_version()
    with database.read_session() as session:
        return Checkup(
            size_bytes=_size(session, database),
            rows={name: session.scalar(select(func.count()).select_from(table)) or 0 for name, table in _TABLES},
            faults=tuple((_sqlite_faults if database.is_sqlite else _postgresql_faults)(session)),
        )


def refuse_missing(database: Database) -> None:
    """Refuse a SQLite file that is not there; opening it would create an empty one.

    Raises:
        StorageError: there is no such file.
    """
    if database.is_sqlite and "uri" not in database.url.query and not Path(database.url.database or "").is_file():
        msg = f"there is no database {database.url.database}; correct BITPLAN_DATA_DIR or BITPLAN_DATABASE_URL"
        raise StorageError(msg)


def _size(session: Session, database: Database) -> int:
    if not database.is_sqlite:
        return int(session.scalar(select(func.pg_database_size(func.current_database()))) or 0)
    pages, page_size = (session.scalar(text(f"PRAGMA {name}")) or 0 for name in ("page_count", "page_size"))
    return int(pages * page_size)


def _sqlite_faults(session: Session) -> list[str]:
    structure = [row for row in session.scalars(text(f"PRAGMA integrity_check({_MOST_FAULTS})")) if row != "ok"]
    orphans = session.execute(text("PRAGMA foreign_key_check")).fetchmany(_MOST_FAULTS)
    return structure + [f"a row of {table} refers to a row of {parent} that is gone" for table, _, parent, _ in orphans]


def _postgresql_faults(session: Session) -> list[str]:
    return list(session.scalars(_UNUSABLE).fetchmany(_MOST_FAULTS))
