"""One log line a request: what an operator looks for, and no secret."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from fastapi.testclient import TestClient
from structlog.contextvars import merge_contextvars
from structlog.testing import LogCapture

from api.app import create_app
from planner.errors import StorageError
from planner.schemas.keys import AccessScope
from planner.services import keys
from planner.settings import Settings
from planner.storage.database import Database
from tests.api.conftest import local_client


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
        "client": "127.0.0.1",
    }
    plain.get("/v1/formats", headers={"authorization": "Bearer c4nary"})
    assert [entry["event"] for entry in logged] == ["request", "request"]
    assert (logged[-1]["status"], logged[-1]["actor"]) == (401, None)
    assert "c4nary" not in repr(logged)


def test_who_is_refused_is_named_by_the_prefix_of_the_key(tmp_path: Path, sqlite_template: Path, logged: list[Any]) -> None:
    shutil.copyfile(sqlite_template, tmp_path / "keys.db")
    database = Database(f"sqlite:///{tmp_path / 'keys.db'}")
    with database.session() as session:
        made = keys.create_key(session, name="reader", scopes={AccessScope.READ})
    with local_client(create_app(Settings(data_dir=tmp_path), database)) as client:
        refused = client.post("/v1/plans", json={}, headers={"authorization": f"Bearer {made.key}"})
    database.close()
    assert refused.status_code == 403
    (line,) = [entry for entry in logged if entry["event"] == "request"]
    assert line["actor"] == f"reader ({made.prefix})"
    assert made.key not in repr(logged)


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


def test_a_database_that_is_away_is_one_line_and_no_traceback(
    plain: TestClient, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_args: object, **_options: object) -> None:
        msg = "the database answered: the connection is lost. Try again"
        raise StorageError(msg)

    monkeypatch.setattr("planner.services.models.list_models", away)
    assert plain.get("/v1/models").status_code == 503
    (line,) = [entry for entry in logged if entry["event"] == "request failed"]
    assert "the connection is lost" in line["reason"]
    assert "exception" not in line
