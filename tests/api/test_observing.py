"""One log line a request: what an operator looks for, and no secret."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from fastapi.testclient import TestClient
from structlog.contextvars import merge_contextvars
from structlog.testing import LogCapture


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """Log events with the context that they were written in."""
    capture = LogCapture()
    structlog.configure(processors=[merge_contextvars, capture])
    yield capture.entries
    structlog.reset_defaults()


def test_a_request_is_one_line(plain: TestClient, logged: list[Any]) -> None:
    plain.get("/v1/formats?token=c4nary", headers={"x-api-key": "c4nary", "cookie": "c4nary=c4nary", "x-request-id": "r-1"})
    (line,) = [entry for entry in logged if entry["event"] == "request"]
    assert line["duration_ms"] > 0
    assert {name: value for name, value in line.items() if name not in ("duration_ms", "actor")} == {
        "event": "request",
        "log_level": "info",
        "request_id": "r-1",
        "method": "GET",
        "route": "/v1/formats",
        "status": 200,
    }
    plain.get("/v1/formats", headers={"authorization": "Bearer c4nary"})
    assert [entry["event"] for entry in logged] == ["request", "request"]
    assert "c4nary" not in repr(logged)


def test_what_is_logged_on_the_way_has_the_id_of_the_request(
    plain: TestClient, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("planner.services.models.list_models", lambda *_args, **_kwargs: 1 / 0)
    plain.get("/v1/models", headers={"x-request-id": "r-2"})
    assert [entry["event"] for entry in logged] == ["request", "request failed"]
    assert {entry["request_id"] for entry in logged} == {"r-2"}
    plain.get("/healthz")
    assert logged[-1]["log_level"] == "debug"
    assert logged[-1]["request_id"] != "r-2"
