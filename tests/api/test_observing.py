"""One log line a request: what an operator looks for, and no secret."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from fastapi.testclient import TestClient
from structlog.contextvars import merge_contextvars
from structlog.testing import LogCapture

from api.app import create_app
from planner.settings import Settings
from planner.storage.database import Database


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """Log events with the context that they were written in."""
    capture = LogCapture()
    structlog.configure(processors=[merge_contextvars, capture])
    yield capture.entries
    structlog.reset_defaults()


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[TestClient]:
    """A service over a database without tables."""
    database = Database(f"sqlite:///{tmp_path / 'plain.db'}")
    with TestClient(create_app(Settings(data_dir=tmp_path), database), raise_server_exceptions=False) as opened:
        yield opened
    database.close()


def test_a_request_is_one_line(plain: TestClient, logged: list[Any]) -> None:
    secret = {"authorization": "Bearer c4nary", "x-api-key": "c4nary", "cookie": "c4nary=c4nary", "x-request-id": "r-1"}
    plain.get("/v1/formats?token=c4nary", headers=secret)
    (line,) = [entry for entry in logged if entry["event"] == "request"]
    assert line | {"duration_ms": 0, "status": 200, "actor": None} == {
        "event": "request",
        "log_level": "info",
        "request_id": "r-1",
        "method": "GET",
        "route": "/v1/formats",
        "status": 200,
        "duration_ms": 0,
        "actor": None,
    }
    assert line["duration_ms"] > 0
    assert "c4nary" not in repr(logged)


def test_what_is_logged_on_the_way_has_the_id_of_the_request(plain: TestClient, logged: list[Any]) -> None:
    plain.get("/v1/models", headers={"x-request-id": "r-2"})
    assert [entry["event"] for entry in logged] == ["request failed", "request"]
    assert {entry["request_id"] for entry in logged} == {"r-2"}
    plain.get("/healthz")
    assert logged[-1]["log_level"] == "debug"
    assert logged[-1]["request_id"] != "r-2"
