"""Drifts over REST."""

import pytest
from fastapi.testclient import TestClient

from planner.storage.database import Database
from planner.storage.drifts import store_drift
from tests import synthetic
from tests.api.conftest import Measured


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_comparison_is_queued_once_and_read_by_anybody(client: TestClient, database: Database, measured: Measured) -> None:
    described = synthetic.description(name="tuned")
    with database.session() as session:
        tuned = synthetic.add_model(session, described)
    path, body = "/v1/models/tuned/drifts", {"reference": "toy"}
    job = client.post(path, json=body)
    assert (job.status_code, job.json()["kind"], job.json()["request"]) == (202, "drift", {"reference": measured.model})
    assert job.headers["location"] == f"/v1/jobs/{job.json()['id']}"
    assert client.post(path, json=body).json()["id"] == job.json()["id"]
    assert client.get(f"{path}/toy").json()["type"] == "urn:bitplan:problem:unmeasured"
    with database.session() as session:
        store_drift(session, tuned, measured.model, {layer.name: 0.0 for layer in described.layers[1:]})
    found = client.get(f"{path}/toy", params={"formats": ["INT4_G64"]}).json()
    assert [item["moved"] for item in found["items"]] == [["INT4_G64"]] + [[]] * (len(described.layers) - 1)
    assert client.post(path, json=body).json()["state"] == "succeeded"
    assert client.post("/v1/models/toy/drifts", json=body).status_code == 422
    reuse = {"model": "tuned", "probe": "weight_error", "formats": ["INT4_G64"], "reuse": "toy"}
    assert client.post("/v1/jobs", json=reuse).json()["type"] == "urn:bitplan:problem:unmeasured"
