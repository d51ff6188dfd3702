"""What is too much is refused at once, as a problem that says when to come again."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from api.admission import MAX_HEADER_BYTES, Admission
from api.app import create_app
from api.token_buckets import TokenBuckets
from planner.services import models
from planner.settings import Settings
from planner.storage.database import Database
from tests.api.conftest import Clock, local_client

PROBLEM = "application/problem+json"


@given(
    st.floats(0.1, 100),
    st.floats(1, 50),
    st.lists(st.tuples(st.floats(0, 5), st.sampled_from("ab")), max_size=60),
)
def test_nobody_gets_more_than_a_full_bucket_and_what_flowed_in_since(
    rate: float, burst: float, asked: list[tuple[float, str]]
) -> None:
    clock = Clock()
    buckets = TokenBuckets(rate, burst, clock=clock)
    taken = {"a": 0, "b": 0}
    for pause, name in asked:
        clock.now += pause
        wait = buckets.take(name)
        taken[name] += wait == 0
        assert taken[name] <= burst + rate * clock.now + 1e-6
        assert 0 <= wait <= 1 / rate
        if wait:
            clock.now += wait * (1 + 1e-9) + 1e-9
            assert buckets.take(name) == 0, "who waits as long as told is served"
            taken[name] += 1


def test_buckets_that_were_not_touched_for_longest_are_forgotten() -> None:
    buckets = TokenBuckets(1, 1, clock=Clock())
    for number in range(20_000):
        buckets.take(str(number))
    assert len(buckets._buckets) == 10_000
    assert buckets.take("19999") > 0
    assert buckets.take("0") == 0


@pytest.fixture
def service(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    path = tmp_path / "bitplan.db"
    path.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{path}")
    yield database
    database.close()


class Gate:
    """Holds requests back until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        list_models = models.list_models

        def held(*args: Any, **options: Any) -> object:
            self.entered.release()
            assert self.opened.wait(20)
            return list_models(*args, **options)

        monkeypatch.setattr(models, "list_models", held)


def test_requests_beyond_the_bound_are_refused_and_health_is_answered(
    service: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    with (
        local_client(create_app(Settings(data_dir=tmp_path, max_requests=2), service)) as client,
        ThreadPoolExecutor() as threads,
    ):
        held = [threads.submit(client.get, "/v1/models") for _ in range(2)]
        for _ in held:
            assert gate.entered.acquire(timeout=20)
        refused = client.get("/v1/jobs")
        health = [client.get(path).status_code for path in ("/healthz", "/readyz")]
        gate.opened.set()
        assert [answer.result(20).status_code for answer in held] == [200, 200]
        assert client.get("/v1/jobs").status_code == 200
    assert (refused.status_code, refused.headers["content-type"], refused.headers["retry-after"]) == (503, PROBLEM, "1")
    assert refused.json()["type"] == "urn:bitplan:problem:service-unavailable"
    assert health == [200, 200]


def test_a_request_that_takes_too_long_is_answered_in_time_and_counts_until_its_end(
    service: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    settings = Settings(data_dir=tmp_path, max_requests=1, request_seconds=0.2)
    with local_client(create_app(settings, service)) as client:
        late = client.get("/v1/models")
        assert client.get("/v1/models").status_code == 503, "its thread is still at work"
        gate.opened.set()
    assert (late.status_code, late.headers["content-type"], late.headers["retry-after"]) == (503, PROBLEM, "5")
    assert "no answer within 0.2 s" in late.json()["detail"]


def test_an_answer_that_has_begun_may_take_as_long_as_it_likes() -> None:
    async def streaming(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.2)
        await send({"type": "http.response.body", "body": b"end"})

    assert _answers(streaming, seconds=0.05)[-1] == {"type": "http.response.body", "body": b"end"}


def test_what_waits_is_stopped_and_says_nothing_more() -> None:
    stopped = []

    async def waiting(_scope: Scope, _receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.append(True)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            raise

    with pytest.raises(HTTPException, match="no answer within"):
        _answers(waiting, seconds=0.05)
    assert stopped == [True]


def test_an_error_below_comes_through() -> None:
    async def failing(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _answers(failing, seconds=1)


def _answers(app: Any, *, seconds: float) -> list[Message]:
    """What is sent until a moment after the end."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async def run() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        try:
            await Admission(app, max_requests=1, seconds=seconds)(scope, receive, send)
        finally:
            await asyncio.sleep(0.05)

    try:
        asyncio.run(run())
    finally:
        assert [message["type"] for message in sent] in ([], ["http.response.start", "http.response.body"])
    return sent


def test_headers_that_are_too_large_are_a_problem(service: Database, tmp_path: Path) -> None:
    with local_client(create_app(Settings(data_dir=tmp_path), service)) as client:
        answer = client.get("/v1/models", headers={"x-long": "x" * MAX_HEADER_BYTES})
    assert (answer.status_code, answer.headers["content-type"]) == (431, PROBLEM)
    assert answer.json()["type"] == "urn:bitplan:problem:request-header-fields-too-large"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_a_path_that_is_badly_encoded_is_a_problem(service: Database, tmp_path: Path) -> None:
    with local_client(create_app(Settings(data_dir=tmp_path), service)) as client:
        for text in ("/%00", "/%ff%fe", "/%", "/%zz", "?cursor=%ff"):
            answer = client.get(f"/v1/models{text}")
            assert answer.status_code in (404, 422), text
            assert answer.headers["content-type"] == PROBLEM
