"""A POST that is sent twice is carried out once, whatever happens in between."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import PoolProxiedConnection, event, func, select

from api import endpoint
from api.app import create_app
from planner.errors import StorageError
from planner.schemas.keys import AccessScope
from planner.services import keys, plans
from planner.settings import Settings
from planner.storage.database import Database
from planner.storage.tables import IdempotentAnswerRow, JobRow, PlanRow
from tests import synthetic
from tests.api.conftest import Measured, local_client

KEY = {"idempotency-key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
PLAN: dict[str, Any] = {"model": "toy", "budget": {"effective_bits": 4.25}}
JOB = {"model": "toy", "probe": "weight_error", "formats": ["INT4_G64"]}


def rows(database: Database, table: type[PlanRow | JobRow | IdempotentAnswerRow]) -> int:
    with database.read_session() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


@pytest.mark.parametrize(
    ("path", "body", "table"), [("/v1/plans", PLAN, PlanRow), ("/v1/jobs", JOB, JobRow)], ids=["plan", "job"]
)
def test_a_repeated_request_gets_the_same_answer_and_does_nothing(
    client: TestClient, measured: Measured, database: Database, path: str, body: dict[str, Any], table: type[PlanRow | JobRow]
) -> None:
    first, second = (client.post(path, json=body, headers=KEY) for _ in range(2))
    assert first.status_code in (201, 202)
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert second.headers["location"] == first.headers["location"]
    assert second.headers["content-type"] == "application/json"
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert rows(database, table) == 1
    assert "idempotency-replayed" not in client.post(path, json=body).headers, "without a key it is a new request"


@pytest.fixture
def stored(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    """A SQLite database with a measured model."""
    path = tmp_path / "bitplan.db"
    path.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{path}")
    described = synthetic.description()
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
    yield database
    database.close()


@pytest.fixture
def asked(stored: Database, tmp_path: Path) -> Iterator[TestClient]:
    with local_client(create_app(Settings(data_dir=tmp_path), stored)) as opened:
        yield opened


def test_what_is_computed_and_not_stored_is_answered_again_too(asked: TestClient) -> None:
    first, second = (asked.post("/v1/models/toy/bounds", json={"formats": ["INT4_G64"]}, headers=KEY) for _ in range(2))
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert second.headers["idempotency-replayed"] == "true"


def test_a_status_that_the_endpoint_chose_is_kept(asked: TestClient) -> None:
    made = [asked.post("/v1/calibrations", json={}, headers={"idempotency-key": key}) for key in "aab"]
    assert [answer.status_code for answer in made] == [201, 201, 200]


def test_a_key_that_was_sent_with_another_request_is_refused(asked: TestClient, stored: Database) -> None:
    asked.post("/v1/plans", json=PLAN, headers=KEY)
    others = [
        asked.post("/v1/plans", json=PLAN | {"runtime": "vllm"}, headers=KEY),
        asked.post("/v1/frontiers", json=PLAN, headers=KEY),
        asked.post("/v1/plans?x=1", json=PLAN, headers=KEY),
    ]
    for answer in others:
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        assert answer.json()["type"] == "urn:bitplan:problem:idempotency-key-reused"
    assert rows(stored, PlanRow) == 1


def test_two_owners_may_choose_the_same_key(asked: TestClient, stored: Database) -> None:
    with stored.session() as session:
        owners = [keys.create_key(session, name, [AccessScope.PLAN]) for name in ("one", "two")]
    made = [
        asked.post("/v1/plans", json=PLAN, headers=KEY | {"authorization": f"Bearer {owner.key}"}).json()["id"]
        for owner in (*owners, *owners)
    ]
    assert made[:2] == made[2:]
    assert made[0] != made[1]


def test_a_refused_request_changed_nothing_and_may_succeed_later(asked: TestClient, stored: Database) -> None:
    small = PLAN | {"budget": {"effective_bits": 0.1}}
    assert [asked.post("/v1/plans", json=small, headers=KEY).status_code for _ in range(2)] == [422, 422]
    assert asked.post("/v1/plans", content=b"{", headers=KEY | {"content-type": "application/json"}).status_code == 422
    assert rows(stored, IdempotentAnswerRow) == 0
    assert asked.post("/v1/plans", json=PLAN, headers=KEY).status_code == 201


def test_a_request_that_fails_after_it_wrote_leaves_nothing(
    asked: TestClient, stored: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object) -> None:
        msg = "the disk is full"
        raise StorageError(msg)

    with monkeypatch.context() as patched:
        patched.setattr(endpoint, "keep_answer", full)
        assert asked.post("/v1/plans", json=PLAN, headers=KEY).status_code == 503
    assert (rows(stored, PlanRow), rows(stored, IdempotentAnswerRow)) == (0, 0)
    assert asked.post("/v1/plans", json=PLAN, headers=KEY).status_code == 201


def test_a_key_that_cannot_be_kept_is_refused(asked: TestClient, stored: Database) -> None:
    for key in ("", "x" * 256, "ä", "a\tb"):
        answer = asked.post("/v1/plans", json=PLAN, headers=[(b"idempotency-key", key.encode("latin-1"))])
        assert (answer.status_code, rows(stored, PlanRow)) == (422, 0)
        assert "fresh UUID" in answer.json()["detail"]


def test_clients_at_once_with_one_key_get_one_plan_and_with_many_keys_many(asked: TestClient, stored: Database) -> None:
    """More of them than the service has threads, so that whoever holds the database's one writer must need no other thread."""

    def ask(key: str) -> str:
        answer = asked.post("/v1/plans", json=PLAN, headers={"idempotency-key": key})
        assert answer.status_code == 201
        return str(answer.json()["id"])

    with ThreadPoolExecutor(24) as threads:
        same = set(threads.map(ask, ["one"] * 12))
        many = set(threads.map(ask, [str(number) for number in range(12)]))
    assert (len(same), len(many), rows(stored, PlanRow)) == (1, 12, 13)


def _die(*_args: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_before_the_answer_is_kept(_database: Database) -> None:
    endpoint.keep_answer = _die  # type: ignore[assignment, attr-defined]


def _die_before_the_commit(database: Database) -> None:
    event.listen(database.engine, "commit", _die)


def _die_after_the_commit(database: Database) -> None:
    dialect = database.engine.dialect
    commit = dialect.do_commit

    def commit_and_die(dbapi_connection: PoolProxiedConnection) -> None:
        commit(dbapi_connection)
        _die()

    dialect.do_commit = commit_and_die  # type: ignore[method-assign]


def _ask_and_die(folder: Path, prepare: Callable[[Database], None]) -> None:
    database = Database(f"sqlite:///{folder / 'bitplan.db'}")
    client = local_client(create_app(Settings(data_dir=folder), database))
    prepare(database)
    client.post("/v1/plans", json=PLAN, headers=KEY)


@pytest.mark.parametrize(
    ("prepare", "done"),
    [(_die_before_the_answer_is_kept, 0), (_die_before_the_commit, 0), (_die_after_the_commit, 1)],
)
def test_a_service_that_is_killed_has_either_done_and_answered_or_done_nothing(
    stored: Database, tmp_path: Path, prepare: Callable[[Database], None], done: int
) -> None:
    stored.close()
    killed = multiprocessing.get_context("fork").Process(target=_ask_and_die, args=(tmp_path, prepare))
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    assert (rows(stored, PlanRow), rows(stored, IdempotentAnswerRow)) == (done, done)
    with local_client(create_app(Settings(data_dir=tmp_path), stored)) as client:
        again, once_more = (client.post("/v1/plans", json=PLAN, headers=KEY) for _ in range(2))
        assert (again.status_code, again.headers.get("idempotency-replayed")) == (201, "true" if done else None)
        assert once_more.content == again.content
    with stored.read_session() as session:
        assert plans.get_plan(session, again.json()["id"]).id == again.json()["id"]
    assert rows(stored, PlanRow) == 1
