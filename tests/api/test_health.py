"""Liveness and readiness, with the reason."""

from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from fastapi.testclient import TestClient
from sqlalchemy import text

from api.app import create_app
from planner.settings import Settings
from planner.storage import versions
from planner.storage.database import Database
from tests.api.conftest import local_client


def test_a_service_that_can_work_is_ready(client: TestClient) -> None:
    assert client.get("/healthz").json()["status"] == "ok"
    assert client.get("/readyz").json() == client.get("/healthz").json()


@pytest.mark.parametrize(("revision", "advice"), [("0000", "install the newer bitplan"), ("initial", "run `bitplan db upgrade`")])
def test_a_schema_of_another_version_is_the_reason(client: TestClient, database: Database, revision: str, advice: str) -> None:
    with database.engine.connect() as connection:
        known = [script.revision for script in ScriptDirectory.from_config(versions._config()).walk_revisions()]
        written = known[-1] if revision == "initial" else revision
        connection.execute(text("UPDATE alembic_version SET version_num = :written"), {"written": written})
        connection.commit()
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:bitplan:problem:schema-version")
    assert advice in answer.json()["detail"]
    assert answer.json()["current"] == written
    assert client.get("/healthz").status_code == 200


def test_a_database_that_is_away_is_the_reason(tmp_path: Path) -> None:
    database = Database("postgresql+psycopg://someone:hidden@127.0.0.1:1/nowhere")
    with local_client(create_app(Settings(data_dir=tmp_path), database)) as client:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:bitplan:problem:storage")
        assert answer.headers["retry-after"] == "5"
        assert "127.0.0.1" not in answer.text
        assert client.get("/healthz").status_code == 200
    database.close()
