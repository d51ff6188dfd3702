"""Jobs over REST."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from planner.measuring import setting_of
from planner.storage.database import Database
from planner.storage.tables import JobRow, utc_now
from tests import synthetic
from tests.api.conftest import Measured

WEIGHTS = {"model": "toy", "probe": "weight_error", "formats": ["INT4_G64", "INT8_G64"]}


def submit(client: TestClient, **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/jobs", json=WEIGHTS | changes)
    assert answer.status_code == 202, answer.text
    document: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{document['id']}"
    return document


def test_a_job_measures_every_layer_but_the_head(client: TestClient, measured: Measured) -> None:
    job = submit(client)
    assert job["state"] == "queued"
    assert job["request"]["layers"] == [layer.name for layer in synthetic.description().layers if layer.kind != "lm_head"]
    assert job["request"]["formats"] == ["INT4_G64", "INT8_G64"]
    assert client.get(f"/v1/jobs/{job['id']}").json() == job


def test_patterns_choose_the_layers(client: TestClient, measured: Measured) -> None:
    job = submit(client, include=["*.mlp.*", "lm_head"], exclude=["model.layers.0.*"])
    assert job["request"]["layers"] == [
        "model.layers.1.mlp.gate_proj",
        "model.layers.1.mlp.up_proj",
        "model.layers.1.mlp.down_proj",
        "lm_head",
    ]


def test_only_missing_cells_are_measured(client: TestClient, measured: Measured, database: Database) -> None:
    described = synthetic.description()
    how = setting_of({"probe": "weight_error", "probe_parameters": {}, "rounding": "rtn", "calibration_id": None, "seed": 0})
    with database.session() as session:
        synthetic.add_cells(session, described, how, formats=("INT4_G64",))
    assert submit(client)["request"]["formats"] == ["INT8_G64"]
    done = submit(client, formats=["int4_g64"])
    assert (done["state"], done["total"]) == ("succeeded", 0)
    assert "force" in done["reason"]
    assert submit(client, formats=["INT4_G64"], force=True)["state"] == "queued"


def test_the_same_request_is_the_same_job_while_it_is_unfinished(client: TestClient, measured: Measured) -> None:
    first = submit(client)
    assert submit(client)["id"] == first["id"]
    client.post(f"/v1/jobs/{first['id']}/cancel")
    assert submit(client)["id"] != first["id"]


def test_cancel_twice_is_cancelled_and_a_finished_job_is_a_conflict(
    client: TestClient, measured: Measured, database: Database
) -> None:
    job = submit(client)["id"]
    assert client.post(f"/v1/jobs/{job}/cancel").json()["state"] == "cancelled"
    assert client.post(f"/v1/jobs/{job}/cancel").json()["state"] == "cancelled"
    other = submit(client)["id"]
    with database.session() as session:
        session.execute(update(JobRow).where(JobRow.id == other).values(state="succeeded", finished_at=utc_now()))
    answer = client.post(f"/v1/jobs/{other}/cancel")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:bitplan:problem:conflict")


def test_lists_are_filtered_by_model_and_state(client: TestClient, measured: Measured) -> None:
    job = submit(client)["id"]
    assert [item["id"] for item in client.get("/v1/jobs", params={"model": "toy", "state": "queued"}).json()["items"]] == [job]
    assert client.get("/v1/jobs", params={"state": "failed"}).json()["items"] == []
    assert client.get("/v1/jobs", params={"model": "nobody"}).status_code == 404


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"model": "nobody"}, "not-found"),
        ({"formats": ["INT9_G64"]}, "unknown-format"),
        ({"formats": []}, "invalid-request"),
        ({"probe": "crystal_ball"}, "unknown-probe"),
        ({"probe": "fisher"}, "invalid-request"),
        ({"probe": "fisher", "calibration": "nothing"}, "not-found"),
        ({"probe_parameters": {"colour": "red"}}, "unknown-probe"),
        ({"include": ["*.nothing"]}, "invalid-request"),
        ({"exclude": ["*"]}, "invalid-request"),
        ({"rounding": "coin"}, "invalid-request"),
        ({"tpyo": 1}, "invalid-request"),
    ],
)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_bad_input_queues_nothing(
    client: TestClient, measured: Measured, database: Database, change: dict[str, Any], kind: str
) -> None:
    answer = client.post("/v1/jobs", json=WEIGHTS | change)
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:bitplan:problem:{kind}"
    with database.read_session() as session:
        assert session.scalars(select(JobRow)).all() == []
