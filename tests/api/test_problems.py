"""Errors as problem documents: stable types, advice, nothing leaked."""

import importlib
import inspect
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import IntegrityError

from api.app import MAX_BODY_BYTES, create_app
from api.problems import STATUS
from planner.errors import TYPE_PREFIX, PlannerError, StorageError, problem_code
from planner.services import models
from planner.settings import Settings
from planner.storage.database import Database
from sensitivity.errors import SensitivityError
from tests.api.conftest import local_client


def test_every_error_has_a_code_of_its_own_and_a_status() -> None:
    found = [
        error
        for name in ("planner.errors", "sensitivity.errors")
        for _, error in inspect.getmembers(importlib.import_module(name), inspect.isclass)
        if issubclass(error, PlannerError | SensitivityError)
    ]
    codes = [problem_code(error) for error in found]
    assert len(set(codes)) == len(codes)
    assert all(code == code.lower() and " " not in code for code in codes)
    assert all(any(kind in STATUS for kind in error.__mro__) for error in found)


def test_what_met_a_deletion_is_a_conflict_and_other_broken_rules_are_failures(
    plain: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(error: Exception) -> None:
        raise error

    for cause, status in (("FOREIGNKEY", 409), ("UNIQUE", 500)):
        orig = sqlite3.IntegrityError()
        orig.sqlite_errorname = f"SQLITE_CONSTRAINT_{cause}"
        error = IntegrityError("INSERT", {}, orig)
        monkeypatch.setattr(models, "list_models", lambda *_args, error=error, **_options: fail(error))
        answer = plain.get("/v1/models")
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert "INSERT" not in answer.text


def test_what_was_not_foreseen_leaks_nothing(plain: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        msg = "password=hunter2"
        raise ZeroDivisionError(msg)

    monkeypatch.setattr(models, "list_models", fail)
    answer = plain.get("/v1/models", headers={"x-request-id": "mine-1"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.json() == {
        "type": f"{TYPE_PREFIX}internal",
        "title": "Internal error",
        "status": 500,
        "detail": "the service failed at this request; report the request_id to its operator",
        "request_id": "mine-1",
    }


def test_a_database_that_is_away_is_503_and_is_not_described(plain: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        msg = "the database postgresql+psycopg://someone:***@db.internal/bitplan answered: connection refused"
        raise StorageError(msg, host="db.internal")

    monkeypatch.setattr(models, "list_models", fail)
    answer = plain.get("/v1/models")
    assert (answer.status_code, answer.json()["type"]) == (503, f"{TYPE_PREFIX}storage")
    assert answer.headers["retry-after"] == "5"
    assert "db.internal" not in answer.text


def test_an_empty_database_is_not_ready(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    with local_client(create_app(Settings(data_dir=tmp_path), database)) as client:
        assert client.get("/healthz").json()["status"] == "ok"
        assert client.get("/readyz").status_code == 503
        assert client.get("/v1/models").status_code == 503
    database.close()


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/nowhere", 404, "not-found"),
        ("PUT", "/v1/models", 405, "method-not-allowed"),
        ("POST", "/v1/plans", 422, "invalid-request"),
    ],
)
def test_what_no_endpoint_takes_is_a_problem_too(plain: TestClient, method: str, path: str, status: int, kind: str) -> None:
    answer = plain.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["type"] == TYPE_PREFIX + kind
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_a_wrong_field_is_named(plain: TestClient) -> None:
    problem = plain.post("/v1/plans", json={"model": "x", "budget": {"effective_bits": -1}, "seed": 3}).json()
    assert [item["location"] for item in problem["errors"]] == [["body", "budget", "effective_bits"], ["body", "seed"]]
    assert problem["detail"].startswith("body.budget.effective_bits: Input should be greater than 0")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 422),
        (b"\xff\xfe", 422),
        (b'{"model": "\\ud800", "budget": {}}', 422),
        (b'{"model": NaN}', 422),
        (b"[" * 100_000, 400),
    ],
)
def test_a_body_that_is_no_json_is_a_problem(plain: TestClient, body: bytes, status: int) -> None:
    answer = plain.post("/v1/plans", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def _unannounced() -> Iterator[bytes]:
    for _ in range(MAX_BODY_BYTES // 2**20 + 1):
        yield b" " * 2**20


@pytest.mark.parametrize("body", [b" " * (MAX_BODY_BYTES + 1), _unannounced()], ids=["announced", "chunked"])
def test_a_body_that_is_too_large_is_refused(plain: TestClient, body: bytes | Iterator[bytes]) -> None:
    answer = plain.post("/v1/plans", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert "40 MiB" in answer.json()["detail"]


@pytest.mark.parametrize("given", ["", "spaces are not usable", "x" * 65, "<script>"])
def test_an_unusable_request_id_is_replaced(plain: TestClient, given: str) -> None:
    answer = plain.get("/healthz", headers={"x-request-id": given})
    assert answer.headers["x-request-id"] != given
    assert len(answer.headers["x-request-id"]) == 16
