"""Connections to PostgreSQL that end by themselves when the other side is gone, so that nobody's locks outlive their machine.

TCP alone notices a machine without power, or a cable that was pulled out, after a quarter of an hour when it sends and after two
hours when it waits; PostgreSQL keeps the locks of that machine's transaction meanwhile, and a job's row with them. So both
sides ask after the other, and the server ends a transaction whose client has stood still (SIGSTOP, a suspended machine). Either
way the client sees a broken connection: what it did not commit is rolled back, and is done again.
"""

import math
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import psycopg
from sqlalchemy import URL, Dialect, Engine, create_engine, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

_IDLE_SECONDS, _INTERVAL_SECONDS, _PROBES = 20, 5, 4
_STANDING_STILL_SECONDS = 300
_CLIENT = {
    "connect_timeout": 10,
    "keepalives_idle": _IDLE_SECONDS,
    "keepalives_interval": _INTERVAL_SECONDS,
    "keepalives_count": _PROBES,
    "tcp_user_timeout": 1_000 * (_IDLE_SECONDS + _INTERVAL_SECONDS * _PROBES),
}
_SERVER = {
    "tcp_keepalives_idle": _IDLE_SECONDS,
    "tcp_keepalives_interval": _INTERVAL_SECONDS,
    "tcp_keepalives_count": _PROBES,
    "idle_in_transaction_session_timeout": 1_000 * _STANDING_STILL_SECONDS,
}
_QUIET_SECONDS = 1.0
_LAST_USED = "bitplan_last_used"


def postgresql_engine(url: URL, *, only_read: bool = False) -> Engine:
    """An engine whose connections break within 40 seconds of silence on the wire; what the URL's query says wins.

    A connection that lay still for a second is asked whether it is alive before it is used; while requests follow each other,
    each would wait for an answer that is known already.

    Args:
        url: ``postgresql+psycopg://…``.
        only_read: its transactions refuse to write.
    """
    given = {name: value for name, value in _CLIENT.items() if name not in url.query}
    engine = create_engine(url, pool_size=5, max_overflow=10, pool_use_lifo=True, connect_args=given)
    settings = _SERVER | ({"default_transaction_read_only": "on"} if only_read else {})
    event.listen(engine, "connect", partial(_prepare, settings=settings))
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", partial(_ask_whether_alive, dialect=engine.dialect))
    return engine


def _prepare(connection: "psycopg.Connection[Any]", _record: Any, *, settings: Mapping[str, object]) -> None:
    """Settings of the session at the server's end; over a Unix socket those of TCP say nothing."""
    connection.execute("; ".join(f"SET {name} = {value}" for name, value in settings.items()).encode())
    connection.commit()


def _note_use(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info[_LAST_USED] = time.monotonic()


def _ask_whether_alive(connection: Any, record: ConnectionPoolEntry, _proxy: Any, *, dialect: Dialect) -> None:
    """Let the pool make new connections in place of a broken one and of those as old as it."""
    if time.monotonic() - record.info.get(_LAST_USED, math.inf) < _QUIET_SECONDS:
        return
    try:
        alive = dialect.do_ping(connection)
    except psycopg.Error as error:
        raise InvalidatePoolError from error
    if not alive:
        raise InvalidatePoolError
