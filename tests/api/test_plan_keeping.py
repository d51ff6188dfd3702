"""Batches, names, pins, the trail, deletion and differences of plans over REST."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from planner.schemas.keys import AccessScope
from planner.services import keys
from planner.storage.database import Database
from tests.api.conftest import Measured

REQUEST = {"model": "toy", "budget": {"effective_bits": 4.25}}
NAME = "/v1/models/toy/plan-names/production"


def make(client: TestClient, bits: float = 4.25) -> str:
    answer = client.post("/v1/plans", json=REQUEST | {"budget": {"effective_bits": bits}})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def problem(answer: Any, status: int, kind: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["type"] == f"urn:bitplan:problem:{kind}"
    return found


def test_a_batch_answers_in_order_with_plans_and_problems(client: TestClient, measured: Measured) -> None:
    requests = [REQUEST | {"budget": {"effective_bits": bits}} for bits in (4.25, 1.0, 5.25)] + [REQUEST | {"model": "nobody"}]
    answer = client.post("/v1/plans/batch", json={"requests": requests})
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert (document["planned"], document["failed"]) == (2, 2)
    first, floor, second, missing = document["items"]
    for item, bits in ((first, 4.25), (second, 5.25)):
        assert item["problem"] is None
        assert item["plan"]["request"]["budget"]["effective_bits"] == bits
        assert client.get(f"/v1/plans/{item['plan']['id']}").json() == item["plan"]
    assert floor["plan"] is None
    assert floor["problem"]["type"] == "urn:bitplan:problem:budget-below-floor"
    assert floor["problem"]["smallest_feasible"] > 1
    assert missing["problem"]["type"] == "urn:bitplan:problem:not-found"
    alone = client.post("/v1/plans", json=requests[1]).json()
    assert alone == floor["problem"] | {"status": 422, "request_id": alone["request_id"]}
    short = client.post("/v1/plans/batch", json={"requests": requests[:1], "answers": "summaries"}).json()["items"][0]
    assert short["plan"] is None
    listed = client.get("/v1/plans").json()["items"][0]
    assert listed == short["summary"] | {"names": [], "pinned": False}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("requests", [[], [REQUEST] * 201, [REQUEST, {"model": "toy", "budget": {}}]])
def test_a_batch_that_cannot_be_read_is_refused_whole(
    client: TestClient, measured: Measured, requests: list[dict[str, Any]]
) -> None:
    found = problem(client.post("/v1/plans/batch", json={"requests": requests}), 422, "invalid-request")
    assert found["errors"][0]["location"][:2] == ["body", "requests"]
    assert client.get("/v1/plans").json()["items"] == []


def test_a_name_is_given_moved_and_taken_away(client: TestClient, measured: Measured) -> None:
    first, second = make(client), make(client, 5.25)
    problem(client.get(NAME), 404, "not-found")
    given = client.put(NAME, json={"plan": first, "why": "first release", "replaces": None})
    assert (given.status_code, given.json()["version"], given.json()["who"]) == (201, 1, "local")
    refused = problem(client.put(NAME, json={"plan": second, "replaces": None}), 409, "conflict")
    assert refused["current"] == first
    moved = client.put(NAME, json={"plan": second, "replaces": first})
    assert (moved.status_code, moved.json()["plan"]) == (200, second)
    assert client.get(NAME).json() == moved.json()
    assert client.get("/v1/models/toy/plan-names").json()["items"] == [moved.json()]
    assert [item["id"] for item in client.get("/v1/plans", params={"name": "production"}).json()["items"]] == [second]
    kept = problem(client.delete(f"/v1/plans/{second}"), 409, "conflict")
    assert (kept["names"], kept["pinned"]) == (["production"], False)
    problem(client.delete("/v1/models/toy"), 409, "conflict")
    problem(client.delete(NAME, params={"replaces": first}), 409, "conflict")
    assert client.delete(NAME, params={"replaces": second, "why": "withdrawn"}).status_code == 204
    page = client.get("/v1/plan-events", params={"model": "toy", "name": "production", "limit": 2}).json()
    assert [(line["action"], line["why"]) for line in page["items"]] == [("unnamed", "withdrawn"), ("named", "")]
    rest = client.get("/v1/plan-events", params={"model": "toy", "cursor": page["next"]}).json()
    assert [(line["plan"], line["superseded_by"], line["why"]) for line in rest["items"]] == [(first, second, "first release")]
    assert client.delete(f"/v1/plans/{second}", params={"why": "space"}).status_code == 204
    problem(client.get(f"/v1/plans/{second}"), 404, "not-found")
    assert client.get("/v1/plan-events", params={"plan": second}).json()["items"][0]["why"] == "space"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_trail_names_the_key(client: TestClient, measured: Measured, database: Database) -> None:
    plan = make(client)
    with database.session() as session:
        key = keys.create_key(session, "release robot", [AccessScope.PLAN])
    named = client.put(NAME, json={"plan": plan}, headers={"authorization": f"Bearer {key.key}"})
    assert named.json()["who"] == f"release robot ({key.prefix})"
    refused = client.delete(f"/v1/plans/{plan}", headers={"authorization": f"Bearer {key.key}"})
    problem(refused, 403, "forbidden")  # deleting is the administrator's


def test_a_pin_keeps_a_plan(client: TestClient, measured: Measured) -> None:
    plan = make(client)
    pin = f"/v1/plans/{plan}/pin"
    pinned = client.put(pin, json={"why": "in the paper"}).json()
    assert client.put(pin, json={}).json() == client.get(pin).json() == pinned
    assert client.get("/v1/plans", params={"pinned": "true"}).json()["items"][0]["pinned"]
    assert problem(client.delete(f"/v1/plans/{plan}"), 409, "conflict")["pinned"]
    assert client.delete(pin).status_code == 204
    problem(client.delete(pin), 404, "not-found")
    assert client.delete(f"/v1/plans/{plan}").status_code == 204


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_plans_are_compared(client: TestClient, measured: Measured) -> None:
    plan, other = make(client), make(client, 5.25)
    found = client.get(f"/v1/plans/{plan}/diff/{other}").json()
    assert found["bits_change"] == sum(group["bits_change"] for group in found["groups"]) > 0
    assert found["loss_change"] == pytest.approx(sum(group["loss_change"] for group in found["groups"]))
    assert found["loss_change"] < 0
    problem(client.get(f"/v1/plans/{plan}/diff/f00"), 404, "not-found")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/v1/plans", {"budget_min": 4}),
        ("/v1/plans", {"since": "yesterday"}),
        ("/v1/plans", {"nmae": "production"}),
        ("/v1/plan-events", {"name": "production"}),
        ("/v1/plan-events", {"cursor": "x"}),
        ("/v1/models/toy/plan-names/a b", {}),
    ],
)
def test_what_means_nothing_is_refused(client: TestClient, measured: Measured, path: str, parameters: dict[str, Any]) -> None:
    problem(client.get(path, params=parameters), 422, "invalid-request")
