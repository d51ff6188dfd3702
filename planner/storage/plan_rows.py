"""The repository of plans: their rows in three tables, of several plans at once."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import insert
from sqlalchemy.orm import Session

from planner.storage.tables import Base, PlanChoicesRow, PlanDocumentRow, PlanRow

Row = Mapping[str, Any]

_NAMES: Final = [row.__tablename__ for row in (PlanRow, PlanDocumentRow, PlanChoicesRow)]
_INSERTS: Final = [insert(Base.metadata.tables[name]) for name in _NAMES]
_ROWS: Final = "INSERT INTO {name} SELECT * FROM json_populate_recordset(NULL::{name}, %s::json)"
_POSTGRESQL: Final = "WITH {}, {} {}".format(
    *(f"of_{name} AS ({_ROWS.format(name=name)})" for name in _NAMES[:2]), _ROWS.format(name=_NAMES[2])
)
"""One statement, one answer: psycopg's ``executemany`` has a message for each row and an answer for each."""


def insert_plans(session: Session, plans: Sequence[Row], documents: Sequence[Row], choices: Sequence[Row]) -> None:
    """Insert rows, each with all columns of its table.

    Raises:
        IntegrityError: a row refers to one that is gone, or is there already.
        DataError: a number that its column does not hold.
    """
    connection, tables = session.connection(), (plans, documents, choices)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_POSTGRESQL, tuple(_as_json(rows) for rows in tables))
        return
    for statement, rows in zip(_INSERTS, tables, strict=True):
        if rows:
            connection.execute(statement, list(rows))


def _as_json(rows: Sequence[Row]) -> str:
    """Numbers keep all their digits; PostgreSQL reads infinity, and bytes in its own notation, from text."""
    given = [{name: f"\\x{value.hex()}" if isinstance(value, bytes) else value for name, value in row.items()} for row in rows]
    return to_json(given, inf_nan_mode="strings").decode()
