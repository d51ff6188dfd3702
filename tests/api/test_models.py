"""Models over REST."""

from fastapi.testclient import TestClient

from planner.storage.database import Database
from tests import synthetic
from tests.api.conftest import Measured


def test_pages_of_models_go_newest_first_to_the_end(client: TestClient, database: Database) -> None:
    with database.session() as session:
        ids = [synthetic.add_model(session, synthetic.description(name=f"toy-{number}")) for number in range(5)]
    seen, cursor = [], None
    for _ in range(3):
        answer = client.get("/v1/models", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [item["id"] for item in answer["items"]]
        cursor = answer["next"]
    assert cursor is None
    assert seen == ids[::-1]


def test_a_cursor_of_nowhere_is_a_problem(client: TestClient) -> None:
    answer = client.get("/v1/models", params={"cursor": "bm90IGEgY3Vyc29y"})
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:bitplan:problem:invalid-request"
    assert "start again" in answer.json()["detail"]


def test_a_model_is_found_by_id_and_by_name(client: TestClient, measured: Measured) -> None:
    by_id = client.get(f"/v1/models/{measured.model}").json()
    by_name = client.get("/v1/models/toy").json()
    described = synthetic.description()
    assert by_id == by_name
    assert by_id["layers"] == len(described.layers)
    assert by_id["layer_parameters"] == sum(layer.parameters for layer in described.layers)


def test_layers_come_in_model_order_with_their_shapes(client: TestClient, measured: Measured) -> None:
    items = client.get("/v1/models/toy/layers").json()["items"]
    assert [item["name"] for item in items] == [layer.name for layer in synthetic.description().layers]
    assert items[0] | {"parameters": 0} == {
        "name": "model.layers.0.self_attn.q_proj",
        "kind": "q_proj",
        "block": 0,
        "expert": None,
        "out_features": 128,
        "in_features": 128,
        "parameters": 0,
        "active_fraction": 1.0,
    }


def test_bounds_need_no_measurement(client: TestClient, database: Database) -> None:
    with database.session() as session:
        synthetic.add_model(session)
    asked = client.get("/v1/models/toy/bounds", params={"formats": ["INT4_G64", "INT8_G64"]}).json()
    told = client.post("/v1/models/toy/bounds", json={"formats": ["INT4_G64", "INT8_G64"]}).json()
    assert asked == told
    assert asked["smallest"]["effective_bits"] == 4.25
    assert asked["largest"]["effective_bits"] == 8.25


def test_deleting_forgets_everything_of_the_model(client: TestClient, measured: Measured) -> None:
    client.post("/v1/plans", json={"model": "toy", "budget": {"effective_bits": 4.25}})
    assert client.delete("/v1/models/toy").status_code == 204
    assert client.get(f"/v1/models/{measured.model}").status_code == 404
    assert client.get("/v1/plans").json()["items"] == []


def test_a_model_with_unfinished_jobs_stays(client: TestClient, measured: Measured) -> None:
    job = client.post("/v1/jobs", json={"model": "toy", "probe": "weight_error", "formats": ["INT4_G64"]}).json()
    answer = client.delete("/v1/models/toy")
    assert answer.status_code == 409
    assert answer.json()["jobs"] == [job["id"]]
    client.post(f"/v1/jobs/{job['id']}/cancel")
    assert client.delete("/v1/models/toy").status_code == 204
