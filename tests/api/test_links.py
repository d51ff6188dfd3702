"""Links and adaptive steps over REST."""

from typing import Any

from fastapi.testclient import TestClient

from planner.cells import Cell
from planner.measuring import setting_of
from planner.storage.cells import load_curves, store_cells
from planner.storage.database import Database
from sensitivity.formats.registry import get_format
from sensitivity.statistics import CellStatus
from tests.api.conftest import Measured

QUESTION = {"model": "toy", "budgets": [{"effective_bits": 4.25}], "formats": ["INT3_G64", "INT4_G64", "INT6_G64"]}


def _measure(database: Database, measured: Measured, job: dict[str, Any]) -> None:
    """What a worker would find: twice the cheap loss."""
    formats = [get_format(name) for name in job["formats"]]
    with database.session() as session:
        cheap = load_curves(session, measured.model, measured.setting, formats, job["layers"])
        cells = [
            Cell(layer, fmt.name, fmt.identity, CellStatus.MEASURED, 2 * float(cheap.loss[i, k]), 0.0, 4.0, None, None)
            for i, layer in enumerate(job["layers"])
            for k, fmt in enumerate(formats)
            if fmt.name in job["cells"][layer]
        ]
        store_cells(session, measured.model, setting_of(job), cells)


def test_steps_jobs_and_a_link_follow_each_other(client: TestClient, database: Database, measured: Measured) -> None:
    first = client.post("/v1/adaptive-steps", json=QUESTION).json()
    assert (first["exact_cells"], first["plans"], first["finished"]) == (0, [], None)
    submitted = client.post("/v1/jobs", json=first["next"])
    assert submitted.status_code == 202, submitted.text
    job = submitted.json()["request"]
    assert sum(map(len, job["cells"].values())) == 20
    _measure(database, measured, job)
    second = client.post("/v1/adaptive-steps", json=QUESTION).json()
    assert second["exact_cells"] == 20
    assert second["plans"][0]["effective_bits"] <= 4.25
    assert second["link"]["family"] == "scale"
    made, again = (
        client.post(f"/v1/models/{measured.model}/links", json={}, headers={"idempotency-key": "one"}) for _ in range(2)
    )
    assert made.status_code == 201, made.text
    document = made.json()
    assert again.json() == document
    assert document["exact_cells"] == 20
    curves = client.get(made.headers["location"]).json()
    assert curves["setting"]["probe"] == "calibrated_fisher"
    assert curves["setting"]["parameters"]["target"] == document["target"] == second["target"]
    plan = client.post("/v1/plans", json={"model": "toy", "budget": {"effective_bits": 4.25}}).json()
    assert plan["provenance"]["setting"] == document["setting"]


def test_problems_say_what_to_do(client: TestClient, measured: Measured) -> None:
    none = client.post("/v1/models/toy/links", json={})
    assert (none.status_code, none.json()["type"]) == (422, "urn:bitplan:problem:unmeasured")
    assert "--probe kl --sample 40" in none.json()["detail"]
    unknown = client.post("/v1/models/nothing/links", json={})
    assert unknown.status_code == 404
    few = client.post("/v1/adaptive-steps", json=QUESTION | {"formats": ["INT4_G64"], "ignore": ["*.mlp.*", "lm_head"]})
    assert (few.status_code, few.json()["type"], few.json()["cells"]) == (422, "urn:bitplan:problem:invalid-request", 8)
    odd = client.post("/v1/adaptive-steps", json=QUESTION | {"cells": 3})
    assert odd.status_code == 422
