"""One database, SQLite or PostgreSQL: sessions that are one transaction each, and the version of its schema.

SQLite runs in WAL mode. A write session begins with ``BEGIN IMMEDIATE``: a transaction that begins deferred and turns into a
writer later fails at once with "database is locked" when another one wrote in between, whatever the busy timeout is. A read
session begins deferred and refuses to write, so it waits for nobody. On PostgreSQL both are READ COMMITTED, and a read session
is READ ONLY. Connections that read and connections that write are kept apart: none has to be told what it is for each time.
"""

import gc
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import copy
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from planner.errors import StorageError
from planner.storage.failures import storage_error
from planner.storage.memory import Memory
from planner.storage.postgresql import postgresql_engine
from planner.storage.tables import utc_now
from planner.storage.tracing import trace_statements

_OWNER = "bitplan_database"
_BUSY_SECONDS = 30
MEMORY_BYTES = 96 * 2**20
LARGEST_BYTES = 192 * 2**20
"""Of one question about a model of tens of thousands of layers, which is remembered beside all others."""


class Database:
    """A database by URL. Connects on first use; safe to share between threads, never across a fork.

    Attributes:
        url: where it is.
        engine: its connections that write.
        reading: its connections that only read.
        memory: what this process keeps of what was read.
    """

    def __init__(self, url: str | URL) -> None:
        """Prepare the engine; connects to nothing yet.

        Args:
            url: ``sqlite:////absolute/file.db`` or ``postgresql+psycopg://user:password@host/name``.

        Raises:
            StorageError: the URL is malformed or names a database that bitplan does not run on.
        """
        self.url = _parse(url)
        make = _sqlite_engine if self.is_sqlite else postgresql_engine
        self.engine, self.reading = (make(self.url, only_read=only_read) for only_read in (False, True))
        self.memory = Memory(MEMORY_BYTES, largest_bytes=LARGEST_BYTES)
        for engine in (self.engine, self.reading):
            trace_statements(engine)
            event.listen(engine, "handle_error", self._drop_read_only)
        self._one_by_one = self.reading if self.is_sqlite else self.reading.execution_options(isolation_level="AUTOCOMMIT")
        self._joined: Callable[[], Session] | None = None

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a SQLite file."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def full_url(self) -> str:
        """The URL with its password, to hand to a child process; never log it."""
        return self.url.render_as_string(hide_password=False)

    def __repr__(self) -> str:
        return f"Database({self.url.render_as_string(hide_password=True)!r})"

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction: committed at the end, rolled back on any exception.

        Raises:
            StorageError: the database cannot be reached, is read-only, full, locked, or has no schema.
        """
        if self._joined is not None:
            with self._translated():
                session = self._joined()
                with session.begin_nested():
                    yield session
            return
        with self._translated(), Session(self.engine, expire_on_commit=False, info={_OWNER: self}) as session, session.begin():
            yield session

    @contextmanager
    def one_transaction(self, at_begin: Callable[[Session], None]) -> Iterator["Database"]:
        """This database, with every write session of the block in one transaction: committed at its end, or rolled back.

        The transaction begins with the first write session, so what is read and computed before keeps no other writer
        waiting. Each write session is a savepoint of it. The block belongs to one thread.

        Args:
            at_begin: called in the transaction before anything else is written.

        Raises:
            StorageError: as for ``session``.
        """
        joined = copy(self)
        with self._translated(), ExitStack() as ends:

            @cache
            def begin() -> Session:
                session = ends.enter_context(self.session())
                at_begin(session)
                return session

            joined._joined = begin
            yield joined

    @contextmanager
    def read_session(self, *, together: bool = True) -> Iterator[Session]:
        """A transaction that only reads: it waits for no writer, and an attempt to write is a ``StorageError``.

        Args:
            together: the statements are one transaction. Else each may be one of its own, which spares PostgreSQL two journeys;
                what it sees is the same, as a READ COMMITTED transaction promises no more.
        """
        engine = self.reading if together else self._one_by_one
        with self._translated(), Session(engine, expire_on_commit=False, info={_OWNER: self}) as session:
            yield session

    @staticmethod
    def of(session: Session) -> "Database":
        """The database that opened the session."""
        owner = session.info[_OWNER]
        assert isinstance(owner, Database)  # noqa: S101  (only this class opens sessions)
        return owner

    def now(self, session: Session) -> datetime:
        """The database's clock: one clock for all machines.

        SQLite is a library inside this process, so its clock is this machine's.
        """
        if self.is_sqlite:
            return utc_now()
        value = session.scalar(select(func.clock_timestamp()))
        assert isinstance(value, datetime)  # noqa: S101  (timestamptz, by PostgreSQL's definition)
        return value.astimezone(UTC)

    def upgrade(self) -> None:
        """Bring the schema to this version of bitplan, in one transaction; creates the SQLite file and its folder.

        Raises:
            StorageError: the database cannot be reached or was written by a newer bitplan.
        """
        from planner.storage import versions

        if self.is_sqlite and self.url.database and "uri" not in self.url.query:
            self._make_folder(Path(self.url.database).parent)
        with self._translated(), self.engine.begin() as connection:
            versions.upgrade(connection)

    def check_version(self) -> None:
        """Refuse to work with a schema of another version.

        Raises:
            StorageError: the database is empty, older or newer than this bitplan; the message says what to run.
        """
        from planner.storage import versions

        with self._translated(), self.reading.connect() as connection:
            versions.check(connection)

    def close(self) -> None:
        """Close the pooled connections."""
        self.reading.dispose()
        self.engine.dispose()  # the last one: it may put the WAL back into the file

    def _drop_read_only(self, failure: ExceptionContext) -> None:
        """Close every connection that was opened while a SQLite file could only be read: such a one stays so for good.

        Connections of a process share their view of the WAL, so a new one is no better while an old one is open; and an old one
        is open until its cursors are closed, which SQLAlchemy leaves to the garbage collector when a connection is gone. In a
        process that waits, the collector may not look at old objects for hours, so it is asked to.
        """
        if "readonly database" not in str(failure.original_exception) or failure.engine is None:
            return
        running = failure.execution_context
        if running is not None and running.cursor is not None:
            running.cursor.close()
        failure.is_disconnect = True
        self.close()
        gc.collect()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (IntegrityError, DataError):
            raise
        except DBAPIError as error:
            raise storage_error(self.url, error.orig or error) from error
        except sqlite3.Error as error:  # from the pragmas of a new connection, outside SQLAlchemy's own translation
            raise storage_error(self.url, error) from error

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"cannot create the folder {folder} of the database: {error.strerror}. Set BITPLAN_DATA_DIR to a writable one."
            raise StorageError(msg) from error


def _parse(url: str | URL) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        msg = "the database URL cannot be read; use sqlite:////path/file.db or postgresql+psycopg://user:password@host/name"
        raise StorageError(msg) from error
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        msg = f"bitplan does not run on {parsed.drivername!r}; use a sqlite:/// or postgresql+psycopg:// URL"
        raise StorageError(msg)
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        msg = "an in-memory database cannot be shared with a worker; name a file: sqlite:////path/file.db"
        raise StorageError(msg)
    return parsed


def _sqlite_engine(url: URL, *, only_read: bool) -> Engine:
    options = {"timeout": _BUSY_SECONDS, "isolation_level": None}
    engine = create_engine(url, pool_size=20, max_overflow=30, pool_use_lifo=True, connect_args=options)
    event.listen(engine, "connect", partial(_prepare_sqlite, only_read=only_read))
    event.listen(engine, "begin", _begin_reading if only_read else _begin_writing)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any, *, only_read: bool) -> None:
    """Pragmas of a new connection. WAL is kept by the file; asking again is free."""
    pragmas = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", *(["query_only=ON"] if only_read else []))
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_reading(connection: Connection) -> None:
    """Begin (see the module's text); sqlite3's own implicit BEGIN is switched off. It touches no file, so it cannot fail."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101  (``Database`` makes no other)
    driver.execute("BEGIN").close()


def _begin_writing(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
