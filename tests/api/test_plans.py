"""Plans and curves over REST."""

import csv
import io
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from planner.storage.database import Database
from planner.storage.tables import PlanRow
from tests import synthetic
from tests.api.conftest import Measured

REQUEST = {"model": "toy", "budget": {"effective_bits": 4.25}}


def make(client: TestClient, **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/plans", json=REQUEST | changes)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/plans/{document['id']}"
    return document


def test_a_plan_keeps_its_budget_and_carries_its_proof(client: TestClient, measured: Measured) -> None:
    plan = make(client)
    assert plan["size"]["effective_bits"] <= 4.25
    assert plan["proof"]["gap"] == pytest.approx(0, abs=1e-9)
    assert plan["predicted"]["unit"] == "nats/token"
    assert plan["provenance"]["setting"] == measured.setting
    assert sum(choice["size_bits"] for choice in plan["choices"]) == plan["size"]["layer_bits"]
    assert client.get(f"/v1/plans/{plan['id']}").json() == plan
    too_long = client.get(f"/v1/plans/{'x' * 65}")  # no more than any other id in a path
    assert (too_long.status_code, too_long.json()["type"]) == (422, "urn:bitplan:problem:invalid-request")


def test_a_plan_with_counts_caution_and_alternatives(client: TestClient, measured: Measured) -> None:
    counts = [{"above_bits": 4, "at_most": 3}, {"pattern": "*.down_proj", "formats": ["INT8_G64"], "at_least": 1}]
    plan = make(client, counts=counts, caution=1.5, alternatives=2, rounding="rtn")
    assert [kept["layers"] for kept in plan["proof"]["counts"]] == [3, 1]
    assert plan["proof"]["objective"] >= plan["proof"]["lower_bound"]
    assert [other["layers"] >= 1 for other in plan["alternatives"]] == [True, True]
    assert client.get(f"/v1/plans/{plan['id']}").json() == plan
    assert client.get("/v1/plans").json()["items"][0]["rounding"] == "rtn"


def test_plans_are_listed_newest_first(client: TestClient, measured: Measured) -> None:
    made = [make(client, budget={"effective_bits": bits})["id"] for bits in (3.5, 4.5, 5.5)]
    first = client.get("/v1/plans", params={"limit": 2}).json()
    rest = client.get("/v1/plans", params={"limit": 2, "cursor": first["next"], "model": "toy"}).json()
    assert [item["id"] for item in first["items"] + rest["items"]] == made[::-1]
    assert rest["next"] is None


def test_an_export_names_every_planned_layer(client: TestClient, measured: Measured) -> None:
    plan = make(client, formats=["INT4_G64", "INT8_G64"])
    exported = client.get(f"/v1/plans/{plan['id']}/export", params={"target": "json"}).json()
    assert set(exported["layers"]) >= {choice["layer"] for choice in plan["choices"]}
    answer = client.get(f"/v1/plans/{plan['id']}/export", params={"target": "punch-cards"})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:bitplan:problem:export")


def test_an_evaluation_is_a_job(client: TestClient, measured: Measured) -> None:
    plan = make(client)
    answer = client.post(f"/v1/plans/{plan['id']}/evaluate", json={"calibration": measured.calibration})
    assert answer.status_code == 202
    assert answer.json()["kind"] == "evaluation"
    assert client.get(answer.headers["location"]).json()["state"] == "queued"
    again = client.post(f"/v1/plans/{plan['id']}/evaluate", json={"calibration": measured.calibration})
    assert again.json()["id"] == answer.json()["id"]
    assert client.get(f"/v1/plans/{plan['id']}/evaluations").json()["items"] == []


@pytest.mark.parametrize(
    ("change", "kind", "fields"),
    [
        ({"model": "nobody"}, "not-found", {"model"}),
        ({"formats": ["INT9_G64"]}, "unknown-format", set()),
        ({"formats": ["INT3_G32"]}, "unmeasured", {"formats", "layers", "cells"}),
        ({"probe": "output_error"}, "unmeasured", {"model"}),
        ({"setting": "0" * 64}, "not-found", set()),
        ({"budget": {"effective_bits": 1.0}}, "budget-below-floor", {"smallest_feasible", "smallest_feasible_bytes"}),
        ({"budget": {"file_bytes": 10}}, "budget-below-floor", {"smallest_feasible_bytes"}),
        ({"budget": {"effective_bits": 60}}, "budget-above-ceiling", {"largest_useful"}),
        ({"budget": {"effective_bits": "NaN"}}, "invalid-request", {"errors"}),
        ({"budget": {}}, "invalid-request", {"errors"}),
        ({"budget": {"effective_bits": 4, "file_bytes": 4}}, "budget-below-floor", {"smallest_feasible_bytes", "floor_layers"}),
        ({"budget": {"decode_seconds": 1}}, "invalid-request", {"errors"}),
        ({"budget": {"decode_seconds": 1, "device": "abacus"}}, "not-found", set()),
        ({"budget": {"max_loss": 1e-12}, "ceilings": {"*": 4}}, "loss-below-floor", {"smallest_feasible"}),
        ({"pins": {"*.q_proj": "INT8_G64"}, "ceilings": {"*.q_proj": 4}}, "pin-conflict", {"layers"}),
        ({"pins": {"*.nothing": "INT8_G64"}}, "invalid-request", {"pattern"}),
        ({"rounding": "hope"}, "format", set()),
        ({"rounding": "gptq"}, "unmeasured", {"model", "measured"}),
        ({"counts": [{"at_most": 3}]}, "invalid-request", {"errors"}),
        ({"counts": [{"above_bits": 4, "formats": ["INT8_G64"], "at_most": 3}]}, "invalid-request", {"errors"}),
        ({"counts": [{"above_bits": 4}]}, "invalid-request", {"errors"}),
        ({"counts": [{"above_bits": 4, "at_most": 2, "at_least": 3}]}, "invalid-request", {"errors"}),
        ({"counts": [{"above_bits": 4, "at_most": -1}]}, "invalid-request", {"errors"}),
        ({"counts": [{"formats": ["INT9_G64"], "at_most": 1}]}, "unknown-format", set()),
        ({"counts": [{"formats": ["INT7_G64"], "at_most": 1}]}, "invalid-request", {"formats"}),
        ({"counts": [{"pattern": "*.nothing", "above_bits": 4, "at_most": 1}]}, "invalid-request", {"pattern"}),
        ({"counts": [{"above_bits": 2, "at_least": 15}]}, "count-conflict", {"counts"}),
        ({"counts": [{"above_bits": 8, "at_least": 14}]}, "budget-below-floor", {"counts", "smallest_feasible"}),
        ({"caution": -1}, "invalid-request", {"errors"}),
        ({"caution": "inf"}, "invalid-request", {"errors"}),
        ({"alternatives": 11}, "invalid-request", {"errors"}),
        ({"alternative_layers": 0}, "invalid-request", {"errors"}),
        ({"runtime": "abacus"}, "invalid-request", {"runtimes"}),
        ({"tpyo": 1}, "invalid-request", {"errors"}),
    ],
)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_bad_input_plans_nothing(
    client: TestClient, measured: Measured, database: Database, change: dict[str, Any], kind: str, fields: set[str]
) -> None:
    answer = client.post("/v1/plans", json=REQUEST | change)
    problem = answer.json()
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:bitplan:problem:{kind}"
    assert problem["status"] == answer.status_code
    assert fields <= set(problem)
    with database.read_session() as session:
        assert session.scalars(select(PlanRow.id)).all() == []


def test_the_smallest_feasible_budget_is_feasible(client: TestClient, measured: Measured) -> None:
    refused = client.post("/v1/plans", json=REQUEST | {"budget": {"file_bytes": 10}}).json()
    least = refused["smallest_feasible_bytes"]
    assert make(client, budget={"file_bytes": least})["size"]["file_bytes"] == least
    assert client.post("/v1/plans", json=REQUEST | {"budget": {"file_bytes": least - 1}}).status_code == 422


def test_curves_come_as_json_and_as_csv(client: TestClient, measured: Measured) -> None:
    asked = {"formats": ["INT4_G64", "INT8_G64"], "layers": "*.down_proj"}
    document = client.get("/v1/models/toy/curves", params=asked).json()
    assert [(item["layer"], item["format"]) for item in document["items"]] == [
        (f"model.layers.{block}.mlp.down_proj", name) for block in range(2) for name in asked["formats"]
    ]
    for told in (
        client.get("/v1/models/toy/curves", params=asked | {"format": "csv"}),
        client.get("/v1/models/toy/curves", params=asked, headers={"accept": "text/csv"}),
    ):
        assert told.headers["content-type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(told.text)))
        assert [float(row["loss"]) for row in rows] == [item["loss"] for item in document["items"]]


def test_settings_say_what_was_measured(client: TestClient, measured: Measured) -> None:
    (found,) = client.get("/v1/models/toy/settings").json()["items"]
    layers = len([layer for layer in synthetic.description().layers if layer.kind != "lm_head"])
    assert found["id"] == measured.setting
    assert found["formats"] == sorted(synthetic.FORMATS, key=found["formats"].index)
    assert set(found["formats"]) == set(synthetic.FORMATS)
    assert found["cells"] == found["measured_cells"] == layers * len(synthetic.FORMATS)
    assert 0 <= found["age_seconds"] < 60


def test_curves_of_nothing_are_a_problem(client: TestClient, database: Database) -> None:
    with database.session() as session:
        synthetic.add_model(session)
    answer = client.get("/v1/models/toy/curves")
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:bitplan:problem:unmeasured")
    assert client.get("/v1/models/toy/settings").json()["items"] == []


def test_a_frontier_is_drawn_at_once(client: TestClient, measured: Measured) -> None:
    answer = client.post("/v1/frontiers", json={"model": "toy", "points": 25})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert len(found["points"]) == 25
    plan = make(client, budget={"file_bytes": found["points"][12]["file_bytes"]})
    assert plan["predicted"]["loss"] <= found["points"][12]["predicted_loss"]
    assert plan["predicted"]["loss"] >= found["points"][12]["lower_bound"] * (1 - 1e-12)
    for wrong, status in (({"points": 1}, 422), ({"model": "nobody"}, 404)):
        assert client.post("/v1/frontiers", json={"model": "toy"} | wrong).status_code == status
