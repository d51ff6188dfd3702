"""Keyset pagination: newest first, stable while rows come and go, and as fast on the last page as on the first."""

import base64
import binascii
from datetime import datetime
from typing import Any

from sqlalchemy import Select, literal, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from planner.errors import InvalidRequestError

PAGE_LIMIT = 200


def page(
    session: Session,
    query: Select[Any],
    *,
    key: tuple[InstrumentedAttribute[datetime], InstrumentedAttribute[str]],
    cursor: str | None,
    limit: int,
) -> tuple[list[Any], str | None]:
    """One page of rows, and the cursor of the next one.

    Args:
        session: where to read.
        query: what to list; its first column is the entity that carries the key.
        key: columns of creation time and id; together they are unique.
        cursor: what the previous page gave, or ``None`` for the first.
        limit: rows of the page, at most ``PAGE_LIMIT``.

    Raises:
        InvalidRequestError: a cursor that no page gave.
    """
    created, identity = key
    if cursor is not None:
        time, last = _decode(cursor)
        # a row value: databases enter an index at it, where an OR of two comparisons is checked row by row
        query = query.where(tuple_(created, identity) < tuple_(literal(time, created.type), literal(last)))
    size = min(limit, PAGE_LIMIT)
    rows = list(session.execute(query.order_by(created.desc(), identity.desc()).limit(size + 1)))
    if len(rows) <= size:
        return rows, None
    entity = rows[size - 1][0]
    return rows[:size], _encode(getattr(entity, created.key), getattr(entity, identity.key))


def _encode(created: datetime, identity: str) -> str:
    return base64.urlsafe_b64encode(f"{created.isoformat()} {identity}".encode()).decode().rstrip("=")


def _decode(cursor: str) -> tuple[datetime, str]:
    msg = "this cursor was not given by a page of this list; start again without one"
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars="-_", validate=True).decode("ascii")
        time, _, identity = text.partition(" ")
        created = datetime.fromisoformat(time)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestError(msg) from error
    if created.tzinfo is None or not identity.isalnum():
        raise InvalidRequestError(msg)
    return created, identity
