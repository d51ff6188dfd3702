"""Requests over a transport that answers as told: retries, problems, limits and streams of events."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.client import Client, Retries, ServiceError, UnreachableError, UnusableAnswerError
from planner.client.addresses import path_of
from planner.errors import BudgetBelowFloorError, InvalidImportError, InvalidRequestError, NotFoundError, PlannerError
from planner.schemas.calibrations import TEXT_LIMIT, CreateCalibration
from planner.schemas.links import LinkRequest
from planner.schemas.plans import BudgetSpec, PlanRequest
from sensitivity.errors import UnknownFormatError

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
MODELS: dict[str, Any] = {"items": [], "next": None}


class Script(httpx2.BaseTransport):
    """Answers with what it was given, in order; an exception is raised."""

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def ok(document: Any, status: int = 200) -> httpx2.Response:
    return httpx2.Response(status, json=document)


def problem(code: str, status: int, headers: dict[str, str] | None = None, **members: Any) -> httpx2.Response:
    document = {"type": f"urn:bitplan:problem:{code}", "title": "T", "status": status, "detail": "do this", "request_id": "r1"}
    return httpx2.Response(status, json=document | members, headers=headers)


class Asked:
    """A client over a script, and the pauses that it made."""

    def __init__(self, *answers: httpx2.Response | Exception, api_key: str | None = None, most_bytes: int = 2**20) -> None:
        self.script = Script(*answers)
        self.pauses: list[float] = []
        retries = Retries(sleep=self.pauses.append, uniform=lambda: 1.0, now=lambda: NOW)
        self.client = Client(
            "http://there:1/base/", api_key=api_key, retries=retries, transport=self.script, most_bytes=most_bytes
        )


def test_what_an_attempt_without_an_answer_asked_is_asked_again() -> None:
    asked = Asked(httpx2.ConnectError("refused"), httpx2.RemoteProtocolError("cut off"), problem("storage", 503), ok(MODELS))
    assert asked.client.list_models().items == []
    assert asked.pauses == [0.25, 0.5, 1.0]
    assert {str(request.url) for request in asked.script.requests} == {"http://there:1/base/v1/models?limit=50"}


def test_a_post_is_the_same_request_each_time() -> None:
    refused: list[httpx2.Response | Exception] = [
        httpx2.ReadError("reset"),
        problem("too-many-requests", 429, {"retry-after": "3"}),
    ]
    waiting = problem("conflict", 409, {"retry-after": "1"})
    asked = Asked(*refused, waiting, problem("conflict", 409))
    with pytest.raises(PlannerError, match="do this") as raised:
        asked.client.create_link("toy", LinkRequest(source="fisher"))
    assert raised.value.code == "conflict"
    assert asked.pauses == [0.25, 3.0, 1.0]
    assert len({request.headers["idempotency-key"] for request in asked.script.requests}) == 1
    assert {request.content for request in asked.script.requests} == {b'{"source":"fisher"}'}
    again = Asked(problem("conflict", 409), problem("conflict", 409))
    for _ in range(2):
        with pytest.raises(PlannerError):
            again.client.create_link("toy", LinkRequest())
    assert len({request.headers["idempotency-key"] for request in again.script.requests}) == 2


def test_it_gives_up() -> None:
    asked = Asked(*[httpx2.ConnectError("refused")] * 5)
    with pytest.raises(UnreachableError, match=r"http://there:1/base cannot be reached for GET /v1/models \(refused\)"):
        asked.client.list_models()
    assert len(asked.pauses) == 4
    slow = Asked(httpx2.ReadTimeout("slow"))
    with pytest.raises(UnreachableError, match="within 300 seconds"):
        slow.client.list_models()
    busy = Asked(problem("too-many-requests", 429, {"retry-after": "3600"}))
    with pytest.raises(ServiceError) as raised:
        busy.client.list_models()
    assert busy.pauses == []
    assert raised.value.fields == {"problem": "too-many-requests", "status": 429, "request_id": "r1"}


def test_a_deletion_whose_answer_was_lost_is_done() -> None:
    Asked(httpx2.ReadError("reset"), problem("not-found", 404)).client.delete_model("toy")
    with pytest.raises(NotFoundError):
        Asked(problem("not-found", 404)).client.delete_model("toy")


def test_problems_are_the_errors_that_they_were() -> None:
    request = PlanRequest(model="toy", budget=BudgetSpec(effective_bits=1))
    with pytest.raises(BudgetBelowFloorError, match="do this") as raised:
        Asked(problem("budget-below-floor", 422, smallest_feasible=2.25, message="kept")).client.create_plan(request)
    assert raised.value.fields == {"smallest_feasible": 2.25, "message": "kept", "request_id": "r1"}
    assert raised.value.__notes__ == ["request id r1"]
    with pytest.raises(UnknownFormatError, match="do this"):
        Asked(problem("unknown-format", 422)).client.create_plan(request)
    field = {"location": ["body", "x"], "message": "m", "code": "c"}
    with pytest.raises(InvalidRequestError) as refused:
        Asked(problem("invalid-request", 422, errors=[field])).client.create_plan(request)
    assert refused.value.fields["errors"] == [field]
    with pytest.raises(ServiceError) as internal:
        Asked(problem("internal", 500)).client.create_plan(request)
    assert (internal.value.code, internal.value.fields["problem"]) == ("service", "internal")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx2.Response(404, text="<html>nginx</html>"), "404 Not Found, not by a document of bitplan: '<html>nginx</html>'"),
        (httpx2.Response(307, headers={"location": "/elsewhere"}), "307 Temporary Redirect"),
        (ok({"items": 3}), "is no ModelPage of bitplan"),
        (httpx2.Response(200, content=b"\xff"), "is no ModelPage of bitplan"),
        (httpx2.Response(200, headers={"content-encoding": "gzip"}, stream=httpx2.ByteStream(b"no gzip")), "is damaged"),
        (ok({"items": [], "next": None, "note": "x" * 2000}), "has more than 1,000 bytes"),
    ],
)
def test_answers_of_another_server_or_version(answer: httpx2.Response, words: str) -> None:
    with pytest.raises(UnusableAnswerError, match=r"answer") as raised:
        Asked(answer, most_bytes=1000).client.list_models()
    assert words in str(raised.value)


def test_fields_of_a_later_version_are_left_out() -> None:
    assert Asked(ok({**MODELS, "colour": "blue"})).client.list_models().next is None
    health = Asked(ok({"status": "ok", "version": "9", "load": 1})).client.healthz()
    assert health.version == "9"


def job(state: str, done: int) -> str:
    document = dict.fromkeys(("total", "rate", "eta_seconds", "reason", "started_at", "finished_at"))
    document |= {"id": "j", "kind": "sensitivity", "model": "m", "state": state, "done": done, "failed": 0, "priority": 0}
    return json.dumps(document | {"request": {}, "created_at": NOW.isoformat()})


def stream(*events: tuple[str, str], then: Exception | None = None) -> httpx2.Response:
    class Stream(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for number, data in events:
                yield f"event: progress\nid: {number}\ndata: {data}\n\n: ping\n\n".encode()
            if then is not None:
                raise then

    return httpx2.Response(200, headers={"content-type": "text/event-stream; charset=utf-8"}, stream=Stream())


def test_a_job_is_followed_through_broken_streams() -> None:
    asked = Asked(
        stream(("1", job("queued", 0)), ("2", job("running", 3)), then=httpx2.ReadError("reset")),
        httpx2.ConnectError("refused"),
        problem("storage", 503, {"retry-after": "5"}),
        stream(),
        stream(("7", job("running", 4)), then=httpx2.ReadTimeout("silent")),
        stream(("9", job("succeeded", 5))),
    )
    assert [found.done for found in asked.client.follow_job("j")] == [0, 3, 4, 5]
    last = [request.headers.get("last-event-id") for request in asked.script.requests]
    assert last == [None, "2", "2", "2", "2", "7"]
    assert asked.pauses == [0.25, 0.5, 5.0, 2.0, 0.25]


def test_a_stream_that_stays_away_is_an_error() -> None:
    asked = Asked(stream(("1", job("running", 1))), *[httpx2.ConnectError("refused")] * 11)
    with pytest.raises(UnreachableError):
        list(asked.client.follow_job("j"))
    assert sum(asked.pauses) > 120
    with pytest.raises(NotFoundError):
        list(Asked(problem("not-found", 404)).client.follow_job("gone"))
    nothing_follows = Asked(stream(("1", job("running", 1))), httpx2.Response(204))
    assert [found.done for found in nothing_follows.client.follow_job("j")] == [1]
    with pytest.raises(UnusableAnswerError, match="is no Job"):
        list(Asked(stream(("1", "{}"))).client.follow_job("j"))


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, text="<html>a proxy</html>"),
        stream(("1", "x" * 2000)),
        httpx2.Response(
            200,
            headers={"content-type": "text/event-stream", "content-encoding": "gzip"},
            stream=httpx2.ByteStream(b"no gzip"),
        ),
    ],
)
def test_what_is_no_stream_of_events(answer: httpx2.Response) -> None:
    asked = Asked(answer, most_bytes=1000)
    with pytest.raises(UnusableAnswerError, match="is no stream of events"):
        list(asked.client.follow_job("j"))
    assert asked.pauses == []


def test_pages_are_walked_to_the_end() -> None:
    plan = {"items": [], "next": "c2"}
    asked = Asked(ok(plan), ok({"items": [], "next": None}))
    assert list(asked.client.iter_plans()) == []
    assert [request.url.params.get("cursor") for request in asked.script.requests] == [None, "c2"]


def test_files_that_no_request_carries(tmp_path: Path) -> None:
    long, matrix = tmp_path / "long.txt", tmp_path / "imatrix.gguf"
    long.write_text("word " * (TEXT_LIMIT // 5 + 1))
    matrix.write_bytes(b"GGUF\xff\xff")
    nobody = Asked()
    with pytest.raises(InvalidRequestError, match="on the machine of the service"):
        nobody.client.add_calibration(CreateCalibration(source=str(long)))
    with pytest.raises(InvalidImportError, match=r"import imatrix\.gguf where the service has its database and models"):
        nobody.client.add_imports("toy", [matrix])
    assert nobody.script.requests == []


def test_a_key_is_sent_and_shown_nowhere() -> None:
    asked = Asked(ok(MODELS), httpx2.ReadTimeout("slow"), api_key="bp_secret")
    asked.client.list_models()
    assert asked.script.requests[0].headers["authorization"] == "Bearer bp_secret"
    with pytest.raises(UnreachableError) as raised:
        asked.client.list_models()
    assert "bp_secret" not in f"{asked.client!r} {raised.value!r} {raised.value.__cause__!r} {vars(raised.value)}"
    for key in ("two words", "line\nbreak", "ключ", ""):
        with pytest.raises(InvalidRequestError, match="printable ASCII") as refused:
            Asked(api_key=key)
        assert not key or key not in str(refused.value)


@pytest.mark.parametrize("url", ["", "there:8000", "ftp://there", "http://", "http://there/?a=b", "http://[::1"])
def test_a_url_of_no_service(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="http:// or https://"):
        Client(url)
    with pytest.raises(InvalidRequestError, match="use an API key") as raised:
        Client("http://me:canary@there/")
    assert "canary" not in str(raised.value)


@settings(max_examples=50)
@given(st.text(min_size=1) | st.sampled_from([".", "..", "../keys", "a/b", "\udc80", "%2e%2e", "a?b#c"]))
def test_a_key_of_a_path_stays_one_segment(key: str) -> None:
    try:
        path = path_of("/v1/models/{model}/layers", model=key)
    except InvalidRequestError:
        assert key in (".", "..", "\udc80") or "/" in key
        return
    request = httpx2.Request("GET", f"http://there{path}")
    assert request.url.raw_path.count(b"/") == 4
    assert b"?" not in request.url.raw_path


def test_an_empty_key_is_nowhere() -> None:
    with pytest.raises(NotFoundError, match="the model is empty"):
        path_of("/v1/models/{model}/layers", model="")


def after_answer(retries: Retries, retry_after: str | None) -> bool:
    return retries.after_answer(503, retry_after, 1)


@pytest.mark.parametrize(
    ("header", "pause"),
    [
        ("7", 7.0),
        ((NOW + timedelta(seconds=20)).strftime("%a, %d %b %Y %H:%M:%S GMT"), 20.0),
        ((NOW - timedelta(days=1)).strftime("%a, %d %b %Y %H:%M:%S GMT"), 0.25),
        ("soon", 0.25),
        ("-3", 0.25),
        (None, 0.25),
        ("31", None),
        ("9" * 400, None),
        (f"Sat, 28 Nov {'9' * 20} 12:00:00 GMT", 0.25),
    ],
)
def test_the_service_says_when(header: str | None, pause: float | None) -> None:
    pauses: list[float] = []
    retries = Retries(sleep=pauses.append, uniform=lambda: 1.0, now=lambda: NOW)
    assert after_answer(retries, header) is (pause is not None)
    assert pauses == ([] if pause is None else [pause])


@settings(max_examples=50)
@given(attempt=st.integers(1, 10_000), uniform=st.floats(0, 1, exclude_max=True))
def test_pauses_stay_within_their_limits(attempt: int, uniform: float) -> None:
    pauses: list[float] = []
    record: Callable[[float], None] = pauses.append
    retries = Retries(attempts=20_000, sleep=record, uniform=lambda: uniform, now=lambda: NOW)
    assert retries.after_error(httpx2.ConnectError("refused"), attempt)
    assert 0.125 <= pauses[0] <= 30
