"""Connections to PostgreSQL that end by themselves when the other side is gone, so that nobody's locks outlive their machine.

TCP alone notices a machine without power, or a cable that was pulled out, after a quarter of an hour when it sends and after two
hours when it waits; PostgreSQL keeps the locks of that machine's transaction meanwhile, and a job's row with them. So both
sides ask after the other, and the server ends a transaction whose client has stood still (SIGSTOP, a suspended machine). Either
way the client sees a broken connection: what it did not commit is rolled back, and is done again.
"""

from typing import Any

import psycopg
from sqlalchemy import URL, Engine, create_engine, event

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
_PREPARE = "; ".join(f"SET {name} = {value}" for name, value in _SERVER.items()).encode()


def postgresql_engine(url: URL) -> Engine:
    """An engine whose connections break within 40 seconds of silence on the wire; what the URL's query says wins.

    Args:
        url: ``postgresql+psycopg://…``.
    """
    given = {name: value for name, value in _CLIENT.items() if name not in url.query}
    engine = create_engine(url, pool_size=10, max_overflow=20, pool_pre_ping=True, connect_args=given)
    event.listen(engine, "connect", _prepare)
    return engine


def _prepare(connection: "psycopg.Connection[Any]", _record: Any) -> None:
    """Settings of the session at the server's end; over a Unix socket those of TCP say nothing."""
    connection.execute(_PREPARE)
    connection.commit()
