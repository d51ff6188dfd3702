"""Which files a request may name, by where it comes from; and that a refused one leaves nothing behind."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from api.app import create_app
from planner.schemas.keys import AccessScope
from planner.services import keys
from planner.settings import Settings
from planner.storage.database import Database
from planner.storage.tables import Base
from tests import synthetic
from tests.any_json import ANYTHING, places, replaced
from tests.api.conftest import local_client
from tests.planner.importers import files
from tests.sensitivity.checkpoint.sparse_checkpoints import small_llama

WORDS = "Some words of prose. " * 2000
ASKED = {"sequences": 4, "sequence_length": 32, "held_out_sequences": 2, "held_out_length": 32}


@pytest.fixture
def database(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    shutil.copyfile(sqlite_template, tmp_path / "bitplan.db")
    opened = Database(f"sqlite:///{tmp_path / 'bitplan.db'}")
    yield opened
    opened.close()


def service(database: Database, tmp_path: Path, *roots: Path) -> FastAPI:
    return create_app(Settings(data_dir=tmp_path, model_roots=roots or None, requests_per_second=0), database)


def elsewhere(app: FastAPI, database: Database) -> TestClient:
    """A client of another machine with a key that may measure."""
    with database.session() as session:
        key = keys.create_key(session, "somebody", [AccessScope.MEASURE]).key
    return TestClient(app, client=("192.0.2.1", 50_000), headers={"authorization": f"Bearer {key}"})


def rows(database: Database) -> dict[str, int]:
    with database.read_session() as session:
        counted = {name: session.scalar(select(func.count()).select_from(table)) for name, table in Base.metadata.tables.items()}
    return {name: count for name, count in counted.items() if count}


def test_without_roots_this_machine_names_any_file_and_others_name_none(database: Database, tmp_path: Path) -> None:
    model, text = small_llama(tmp_path / "model"), tmp_path / "a.txt"
    text.write_text(WORDS)
    app = service(database, tmp_path)
    here = local_client(app)
    requests = (("/v1/models", {"source": str(model)}), ("/v1/calibrations", {"source": str(text), **ASKED}))
    assert [here.post(path, json=body).status_code for path, body in requests] == [201, 201]
    before = rows(database)
    other = elsewhere(app, database)
    for path, body in requests:
        for source in (body["source"], "/etc/passwd", "/missing.txt"):
            answer = other.post(path, json={**body, "source": source})
            assert answer.status_code == 422
            assert answer.json()["detail"].replace(repr(source), "IT").startswith("IT is not below a folder")
            assert "BITPLAN_MODEL_ROOTS" in answer.json()["detail"]
    assert other.post("/v1/calibrations", json={"text": WORDS, "seed": 1, **ASKED}).status_code == 201
    assert rows(database).keys() - before.keys() <= {"api_keys"}


def test_what_came_through_a_proxy_of_this_machine_came_from_elsewhere(database: Database, tmp_path: Path) -> None:
    app = service(database, tmp_path)
    key = elsewhere(app, database).headers["authorization"]
    headers = {"authorization": key, "x-forwarded-for": "192.0.2.1"}
    answer = local_client(app).post("/v1/models", json={"source": str(small_llama(tmp_path / "model"))}, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:bitplan:problem:invalid-request")


def test_with_roots_everybody_names_files_below_them(database: Database, tmp_path: Path) -> None:
    model = small_llama(tmp_path / "models" / "one")
    app = service(database, tmp_path, tmp_path / "models")
    other = elsewhere(app, database)
    assert other.post("/v1/models", json={"source": str(model)}).status_code == 201
    for source in (tmp_path, model / ".." / "..", tmp_path / "models-of-another"):
        for client in (other, local_client(app)):
            headers = {"authorization": other.headers["authorization"]}
            assert client.post("/v1/models", json={"source": str(source)}, headers=headers).status_code == 422


def test_a_checkpoint_that_is_refused_leaves_nothing(database: Database, tmp_path: Path) -> None:
    model = small_llama(tmp_path / "model")
    here = local_client(service(database, tmp_path))
    for file in model.iterdir():
        content = file.read_bytes()
        for damaged in (content[:-1], b"", content[:60] + b"\xff" + content[61:]):
            file.write_bytes(damaged)
            answer = here.post("/v1/models", json={"source": str(model)})
            assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        file.write_bytes(content)
    assert rows(database) == {}
    assert here.post("/v1/models", json={"source": str(model)}).status_code == 201


def test_an_import_stores_all_of_its_files_or_nothing(database: Database, tmp_path: Path) -> None:
    """Documents of three tools with any value in any place: an answer that is a result or a problem, and rows to match."""
    with database.session() as session:
        model = synthetic.add_model(session)
    here = local_client(service(database, tmp_path))
    samples = {
        name: json.loads(files.stored(name).content) for name in (files.MEASUREMENT, files.SCHEMES[0], files.SENSITIVITIES)
    }
    somewhere = [(name, place) for name, document in samples.items() for place in places(document)]

    @settings(max_examples=15, deadline=None, derandomize=True, database=None)
    @given(where=st.sampled_from(somewhere), value=ANYTHING)
    def check(where: tuple[str, tuple[object, ...]], value: object) -> None:
        name, place = where
        try:
            text = json.dumps(replaced(samples[name], place, value))
        except ValueError:  # an integer too long to be written
            return
        before = rows(database)
        answer = here.post(f"/v1/models/{model}/imports", json={"files": [{"name": name, "text": text}]})
        assert answer.status_code in (201, 422), answer.text
        if answer.status_code == 422:
            assert rows(database) == before

    check()
