"""Fits and comparisons over REST."""

from fastapi.testclient import TestClient

from planner.storage.database import Database
from tests import synthetic
from tests.api.conftest import Measured


def test_fits_and_comparisons_are_documents(client: TestClient, database: Database, measured: Measured) -> None:
    with database.session() as session:
        other = synthetic.add_cells(session, synthetic.description(), synthetic.setting(probe="kl"), seed=1)
    fits = client.get("/v1/models/toy/curves/fits", params={"probe": "fisher", "layers": "*.mlp.*"}).json()
    assert fits["setting"]["id"] == measured.setting
    assert {item["kind"] for item in fits["items"]} == {"gate_proj", "up_proj", "down_proj"}
    compared = client.get("/v1/models/toy/curves/comparison", params={"first": other, "second": "fisher"}).json()
    assert [compared["first"]["probe"], compared["second"]["probe"]] == ["kl", "fisher"]
    assert compared["overall"]["cells"] == 14 * len(synthetic.FORMATS)
    rounded = client.get("/v1/models/toy/curves/comparison", params={"first": "kl:rtn", "second": "fisher:rtn"}).json()
    assert rounded["cells"] == compared["cells"]


def test_what_cannot_be_compared_is_a_problem(client: TestClient, measured: Measured) -> None:
    path = "/v1/models/toy/curves/comparison"
    same = client.get(path, params={"first": "fisher", "second": measured.setting})
    assert (same.status_code, same.json()["type"]) == (422, "urn:bitplan:problem:invalid-request")
    assert client.get(path, params={"first": "fisher", "second": "kl"}).json()["type"] == "urn:bitplan:problem:unmeasured"
    assert client.get(path, params={"first": "fisher"}).status_code == 422
