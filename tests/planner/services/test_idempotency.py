"""Answers that are given again: with the right request only, for a day, and never for a request that changed nothing."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from planner.errors import IdempotencyKeyReusedError
from planner.services.idempotency import (
    KEPT,
    KeptAnswer,
    OvertakenError,
    RepeatableRequest,
    find_answer,
    forget_old_answers,
    keep_answer,
    reserve,
)
from planner.storage.database import Database
from planner.storage.tables import IdempotentAnswerRow, utc_now

REQUEST = RepeatableRequest.of("", "a key", b"POST", b"/v1/plans", b"{}")
ANSWER = KeptAnswer(201, {"location": "/v1/plans/1"}, b"a plan " * 100)


def _carry_out(database: Database, request: RepeatableRequest = REQUEST) -> None:
    with database.session() as session:
        reserve(session, request)
        keep_answer(session, request, ANSWER)


def _find(database: Database, request: RepeatableRequest = REQUEST) -> KeptAnswer | None:
    with database.read_session() as session:
        return find_answer(session, request)


def test_an_answer_is_found_by_the_same_request_of_the_same_owner(database: Database) -> None:
    assert _find(database) is None
    _carry_out(database)
    assert _find(database) == ANSWER
    assert _find(database, RepeatableRequest("somebody", REQUEST.key, REQUEST.digest)) is None
    with pytest.raises(IdempotencyKeyReusedError, match="'a key' was sent with another request"):
        _find(database, RepeatableRequest.of("", "a key", b"POST", b"/v1/plans", b"[]"))


def test_who_comes_second_waits_and_is_told(database: Database) -> None:
    reserved, done = Event(), Event()

    def second() -> None:
        reserved.wait(10)
        try:
            with database.session() as session:
                reserve(session, REQUEST)
        finally:
            done.set()

    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(second)
        with database.session() as session:
            reserve(session, REQUEST)
            reserved.set()
            assert not done.wait(0.2)
            keep_answer(session, REQUEST, ANSWER)
        with pytest.raises(OvertakenError):
            waiting.result(30)
    assert _find(database) == ANSWER


def test_a_request_that_failed_leaves_nothing(database: Database) -> None:
    def fail() -> None:
        with database.session() as session:
            reserve(session, REQUEST)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert _find(database) is None
    _carry_out(database)


def test_after_a_day_the_key_is_free_whether_the_row_was_deleted_or_not(database: Database) -> None:
    _carry_out(database)
    with database.session() as session:
        session.execute(update(IdempotentAnswerRow).values(created_at=utc_now() - KEPT - timedelta(seconds=1)))
    other = RepeatableRequest.of("", "a key", b"something else")
    assert _find(database, other) is None
    _carry_out(database, other)
    with database.session() as session:
        forget_old_answers(session)
    assert _find(database, other) == ANSWER
    with database.session() as session:
        session.execute(update(IdempotentAnswerRow).values(created_at=utc_now() - KEPT))
        forget_old_answers(session)
        assert session.scalar(select(func.count()).select_from(IdempotentAnswerRow)) == 0


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_two_requests_have_one_digest_only_if_every_part_is_the_same(first: list[bytes], second: list[bytes]) -> None:
    digests = [RepeatableRequest.of("", "", *parts).digest for parts in (first, second)]
    assert (digests[0] == digests[1]) == (first == second)
