"""Registering a checkpoint over REST: real files on disk, good and bad."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from planner.storage.database import Database
from planner.storage.tables import LayerRow, ModelRow
from tests import tiny_models


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny_llama(tmp_path_factory.mktemp("checkpoint") / "tiny-llama")


@pytest.fixture
def source(checkpoint: Path, models_root: Path) -> Path:
    return Path(shutil.copytree(checkpoint, models_root / "tiny-llama"))


def test_registering_twice_is_one_model(client: TestClient, source: Path) -> None:
    first = client.post("/v1/models", json={"source": str(source)})
    second = client.post("/v1/models", json={"source": str(source)})
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert first.headers["location"] == f"/v1/models/{first.json()['id']}"
    assert first.json()["name"] == "tiny-llama"
    assert first.json()["layers"] == 15
    assert len(client.get("/v1/models/tiny-llama/layers").json()["items"]) == 15


def test_another_name_for_the_same_files_is_a_conflict(client: TestClient, source: Path) -> None:
    client.post("/v1/models", json={"source": str(source), "name": "one"})
    answer = client.post("/v1/models", json={"source": str(source), "name": "two"})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:bitplan:problem:conflict")


def _missing(source: Path) -> str:
    shutil.rmtree(source)
    return str(source)


def _no_weights(source: Path) -> str:
    for shard in source.glob("*.safetensors*"):
        shard.unlink()
    return str(source)


def _unknown_architecture(source: Path) -> str:
    tiny_models.edit_config(source, model_type="telepathy", architectures=["TelepathyForCausalLM"])
    return str(source)


def _truncated(source: Path) -> str:
    tiny_models.truncate(next(source.glob("*.safetensors")))
    return str(source)


def _outside(source: Path) -> str:
    return str(source.parent.parent)


def _traversal(source: Path) -> str:
    return f"{source}/../../../{source.parent.parent.name}"


def _link(source: Path) -> str:
    outside = source.parent.parent / "outside"
    shutil.move(source, outside)
    source.symlink_to(outside)
    return str(source)


def _link_inside(source: Path) -> str:
    shard = next(source.glob("*.safetensors"))
    outside = source.parent.parent / "elsewhere.safetensors"
    shutil.move(shard, outside)
    shard.symlink_to(outside)
    return str(source)


def _control_character(source: Path) -> str:
    return f"{source}\x00"


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (_missing, "source-not-found"),
        (_no_weights, "no-weights"),
        (_unknown_architecture, "unknown-architecture"),
        (_truncated, "corrupt-checkpoint"),
        (_outside, "invalid-request"),
        (_traversal, "invalid-request"),
        (_link, "invalid-request"),
        (_link_inside, "invalid-request"),
        (_control_character, "invalid-request"),
    ],
)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_bad_source_registers_nothing(
    client: TestClient, database: Database, source: Path, spoil: Callable[[Path], str], kind: str
) -> None:
    named = spoil(source)
    answer = client.post("/v1/models", json={"source": named})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:bitplan:problem:{kind}"
    assert len(answer.json()["detail"]) > 20
    seen = client.post("/v1/models/inspect", json={"source": named})
    assert (seen.status_code, seen.json()["detail"]) == (422, answer.json()["detail"])
    with database.read_session() as session:
        assert session.scalars(select(ModelRow.id)).all() == []
        assert session.scalars(select(LayerRow.id)).all() == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_a_source_would_be_is_said_without_registering_it(client: TestClient, source: Path) -> None:
    seen = client.post("/v1/models/inspect", json={"source": str(source)}).json()
    assert client.get("/v1/models").json()["items"] == []
    model = client.post("/v1/models", json={"source": str(source), "name": "by hand"}).json()
    same = ("id", "kind", "architecture", "dtype", "blocks", "layers", "parameters", "layer_parameters", "unquantized_bytes")
    assert [seen[name] for name in same] == [model[name] for name in same]
    assert (seen["name"], seen["registered"]) == ("tiny-llama", None)
    assert seen["bytes"] == 2 * model["parameters"], "of bfloat16"
    assert client.post("/v1/models/inspect", json={"source": str(source)}).json()["registered"] == "by hand"
