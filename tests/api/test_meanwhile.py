"""A model that is deleted while it is asked about, between any two statements of the request: a refusal, never a failure.

Only on PostgreSQL does a transaction see what others delete meanwhile; on SQLite it sees what was there when it began.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, func, select

from planner.errors import ConflictError, NotFoundError
from planner.services import jobs, models
from planner.storage.database import LARGEST_BYTES, MEMORY_BYTES, Database
from planner.storage.memory import Memory
from planner.storage.tables import JobRow, ModelRow
from tests import synthetic

QUESTION = {"model": "toy", "budget": {"effective_bits": 4.25}}
MEASUREMENT = {"model": "toy", "probe": "weight_error", "formats": ["INT4_G64"]}


class Deleter:
    """Deletes the model before a statement of another transaction, unless that holds it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute("SET lock_timeout = '50ms'")
        self._before: int | None = None
        self.statements = 0
        for engine in (database.engine, database.reading):
            event.listen(engine, "before_cursor_execute", self._look)

    def before(self, number: int, ask: Callable[[], Any]) -> Any:
        """What ``ask`` gets if the model is deleted before its statement of this number."""
        self._before, self.statements = number, 0
        try:
            return ask()
        finally:
            self._before = None

    def close(self) -> None:
        for engine in (self._database.engine, self._database.reading):
            event.remove(engine, "before_cursor_execute", self._look)
        self._connection.close()

    def _look(self, *_args: Any) -> None:
        if self._before is None:
            return
        if self.statements == self._before:
            with suppress(psycopg.errors.LockNotAvailable):
                self._connection.execute("DELETE FROM models")
        self.statements += 1


@pytest.fixture
def deleter(database: Database) -> Iterator[Deleter]:
    opened = Deleter(database)
    yield opened
    opened.close()


def planned(database: Database, client: TestClient, calibration: str) -> str:
    """A plan of the model, which is put back where it is gone; nothing of it is remembered."""
    database.memory = Memory(MEMORY_BYTES, largest_bytes=LARGEST_BYTES)
    described = synthetic.description()
    with database.session() as session:
        if session.scalar(select(func.count()).select_from(ModelRow)) == 0:
            synthetic.add_model(session, described)
            synthetic.add_cells(session, described, synthetic.setting(calibration))
    answer = client.post("/v1/plans", json=QUESTION)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/plans", QUESTION),
        ("/v1/plans/{plan}/evaluate", {}),
        ("/v1/plans/{plan}/evaluate/forecast", {}),
        ("/v1/jobs", MEASUREMENT),
    ],
)
def test_a_model_that_is_deleted_at_any_moment(
    database: Database, client: TestClient, deleter: Deleter, path: str, body: dict[str, Any]
) -> None:
    with database.session() as session:
        calibration = synthetic.add_calibration(session)
    statuses = []
    for number in range(100):
        at = path.format(plan=planned(database, client, calibration))
        answer = deleter.before(number, partial(client.post, at, json=body))
        statuses.append(answer.status_code)
        if deleter.statements <= number:  # it had fewer
            break
    assert statuses[0] == 404
    assert statuses[-1] < 300
    assert {status for status in statuses if status >= 300} <= {404, 409, 422}


def test_a_job_that_is_queued_at_the_last_moment_keeps_its_model(database: Database) -> None:
    with database.session() as session:
        model = synthetic.add_model(session)
    said: list[Exception] = []

    def delete() -> None:
        try:
            with database.session() as session:
                models.delete_model(session, "toy")
        except (ConflictError, NotFoundError) as error:
            said.append(error)

    thread = threading.Thread(target=delete)
    with database.session() as session:
        job = jobs.submit(session, kind="fake", model_id=model, payload={}).id
        thread.start()
        thread.join(0.3)
    thread.join(30)
    assert [str(error)[:24] for error in said] == ["1 jobs of model 'toy' ha"]
    with database.read_session() as session:
        assert session.get(JobRow, job) is not None
