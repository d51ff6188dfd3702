"""Keyset pages: together they are the whole list, in order, whatever was created at the same moment."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from planner.errors import InvalidRequestError
from planner.services.pagination import page
from planner.storage.database import Database
from planner.storage.tables import CalibrationSetRow

_KEY = (CalibrationSetRow.created_at, CalibrationSetRow.id)
_BEGIN = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


def _row(number: int, second: int) -> CalibrationSetRow:
    facts: dict[str, Any] = dict.fromkeys(("sequences", "sequence_length", "held_out_sequences", "held_out_length"), 1)
    return CalibrationSetRow(
        id=f"{number:04x}",
        name="any",
        source="any",
        seed=0,
        characters=1,
        text=b"",
        created_at=_BEGIN + timedelta(seconds=second),
        **facts,
    )


def _walk(database: Database, limit: int) -> list[list[str]]:
    pages, cursor = [], None
    while True:
        with database.read_session() as session:
            rows, cursor = page(session, select(CalibrationSetRow), key=_KEY, cursor=cursor, limit=limit)
        pages.append([row[0].id for row in rows])
        if cursor is None:
            return pages


@settings(
    max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seconds=st.lists(st.integers(0, 3), max_size=12), limit=st.integers(1, 5))
def test_pages_are_the_list(database: Database, seconds: list[int], limit: int) -> None:
    with database.session() as session:
        session.execute(delete(CalibrationSetRow))
        session.add_all(_row(number, second) for number, second in enumerate(seconds))
    pages = _walk(database, limit)
    newest_first = sorted(((second, f"{number:04x}") for number, second in enumerate(seconds)), reverse=True)
    assert [identity for found in pages for identity in found] == [identity for _, identity in newest_first]
    assert all(len(found) == limit for found in pages[:-1])
    assert len(pages) == max(1, -(-len(seconds) // limit))


def test_what_is_created_meanwhile_moves_no_page(database: Database) -> None:
    with database.session() as session:
        session.add_all(_row(number, number) for number in range(4))
    with database.read_session() as session:
        _, cursor = page(session, select(CalibrationSetRow), key=_KEY, cursor=None, limit=2)
    with database.session() as session:
        session.add(_row(9, 9))
    with database.read_session() as session:
        rows, following = page(session, select(CalibrationSetRow), key=_KEY, cursor=cursor, limit=2)
    assert [row[0].id for row in rows] == ["0001", "0000"]
    assert following is None


@given(st.text(max_size=40))
def test_any_other_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequestError, match="start again"):
        page(Session(), select(CalibrationSetRow), key=_KEY, cursor=cursor, limit=2)
