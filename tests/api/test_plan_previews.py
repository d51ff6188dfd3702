"""Previews over REST: the same answer as a plan, and nothing that stays."""

import pytest
from fastapi.testclient import TestClient

from planner.schemas.keys import AccessScope
from planner.services.keys import create_key
from planner.storage.database import Database
from tests.api.conftest import Measured

ASKED = {"model": "toy", "budget": {"effective_bits": 4.25}}


def test_a_preview_says_what_the_plan_would_and_stores_nothing(client: TestClient, measured: Measured) -> None:
    answer = client.post("/v1/plans/preview", json=ASKED)
    assert answer.status_code == 200, answer.text
    assert "location" not in answer.headers
    preview = answer.json()
    assert client.get("/v1/plans").json()["items"] == []
    plan = client.post("/v1/plans", json=ASKED).json()
    assert preview["predicted"] == plan["predicted"]
    assert preview["limits"] == plan["limits"]
    assert [preview["formats"][column] for column in preview["choices"]] == [choice["format"] for choice in plan["choices"]]
    aggregated = client.post("/v1/plans/preview", params={"aggregate": True}, json=ASKED).json()
    assert aggregated["choices"] is None
    assert aggregated["tiles"] == preview["tiles"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_budget_below_the_floor_is_refused_with_the_floor(client: TestClient, measured: Measured) -> None:
    answer = client.post("/v1/plans/preview", json=ASKED | {"budget": {"effective_bits": 1.5}})
    assert answer.status_code == 422
    problem = answer.json()
    assert (problem["type"], problem["smallest_feasible"]) == ("urn:bitplan:problem:budget-below-floor", 2.25)
    assert problem["floor_layers"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_looking_is_planning_and_needs_its_scope(client: TestClient, measured: Measured, database: Database) -> None:
    with database.session() as session:
        keys = {scope: create_key(session, scope.value, [scope]).key for scope in (AccessScope.READ, AccessScope.PLAN)}
    asked = {
        scope: client.post("/v1/plans/preview", json=ASKED, headers={"authorization": f"Bearer {key}"}).status_code
        for scope, key in keys.items()
    }
    assert asked == {AccessScope.READ: 403, AccessScope.PLAN: 200}
