"""Retargeting, explaining and choosing among models over REST."""

from typing import Any

from fastapi.testclient import TestClient

from planner.storage.database import Database
from tests import synthetic
from tests.api.conftest import Measured
from tests.planner.services.test_families import evaluated


def planned(client: TestClient, measured: Measured, **request: Any) -> dict[str, Any]:
    asked = {"model": measured.model, "budget": {"effective_bits": 4.3}} | request
    answer = client.post("/v1/plans", json=asked)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_plan_is_retargeted_and_both_are_compared(client: TestClient, measured: Measured) -> None:
    plan = planned(client, measured)
    answer = client.post(f"/v1/plans/{plan['id']}/retarget", json={"runtime": "vllm"})
    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert answer.headers["location"] == f"/v1/plans/{found['plan']['id']}"
    assert client.get(answer.headers["location"]).json() == found["plan"]
    diff = client.get(f"/v1/plans/{plan['id']}/diff/{found['plan']['id']}").json()
    assert diff == found["diff"]
    assert {reason["cause"] for reason in found["reasons"]} >= {"tied"}
    refused = client.post(f"/v1/plans/{plan['id']}/retarget", json={"runtime": "abacus"})
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:bitplan:problem:invalid-request")
    assert client.post("/v1/plans/nobody/retarget", json={"runtime": "vllm"}).status_code == 404


def test_a_plan_is_explained(client: TestClient, measured: Measured) -> None:
    plan = planned(client, measured, runtime="vllm")
    found = client.get(f"/v1/plans/{plan['id']}/explain", params={"layer": "*.q_proj", "limit": 1}).json()
    assert (found["matched"], len(found["layers"]), len(found["groups"])) == (2, 1, 1)
    assert len(found["groups"][0]["layers"]) == 3
    assert client.get(f"/v1/plans/{plan['id']}/explain", params={"layer": "nothing"}).status_code == 422
    assert client.get("/v1/plans/nobody/explain").status_code == 404


def test_models_are_chosen_among(client: TestClient, measured: Measured, database: Database) -> None:
    other = synthetic.description(name="larger", hidden=192)
    with database.session() as session:
        synthetic.add_model(session, other)
        synthetic.add_cells(session, other, synthetic.setting())
    asked = {"models": [measured.model, "larger"], "points": 5}
    refused = client.post("/v1/families/frontier", json=asked)
    assert refused.status_code == 422
    assert "bitplan evaluate PLAN --calibration" in refused.json()["detail"]
    for model, nll in ((measured.model, 3.1), (other.fingerprint, 3.0)):
        evaluated(database, model, measured.calibration, nll)
    found = client.post("/v1/families/frontier", json=asked).json()
    assert [model["model_name"] for model in found["models"]] == ["toy", "larger"]
    assert found["envelope"][-1]["model"] == 1
    assert found["crossings"][-1]["better"]["model_name"] == "larger"
