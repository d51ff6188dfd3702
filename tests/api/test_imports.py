"""Imports over REST."""

import json

from fastapi.testclient import TestClient

from tests.api.conftest import Measured
from tests.planner.importers import files


def _file(name: str) -> dict[str, str]:
    return {"name": name, "text": files.stored(name).text}


def test_cells_and_plans_are_found_where_the_answer_says(client: TestClient, measured: Measured) -> None:
    answer = client.post("/v1/models/toy/imports", json={"files": [_file(files.MEASUREMENT)]})
    assert answer.status_code == 201
    found = client.get(answer.headers["location"]).json()
    assert found["setting"]["probe"] == "imported_exllamav2"
    assert len(found["items"]) == answer.json()["cells"]
    body = {"files": [_file(files.CONFIGURATION)], "options": {"level_format": "INT{level}_G64"}, "tool": "evopress"}
    plan = client.post("/v1/models/toy/imports", json=body)
    assert client.get(plan.headers["location"]).json()["id"] == plan.json()["plan"]
    planned = client.post(
        "/v1/plans", json={"model": "toy", "probe": "imported_exllamav2", "budget": {"effective_bits": 4}}
    ).json()
    assert planned["predicted"]["unit"] == "relative"


def test_what_cannot_be_imported_is_a_problem(client: TestClient, measured: Measured) -> None:
    wrong = json.dumps([["model.layers.9.mlp.up_proj", 1.0]])
    answer = client.post("/v1/models/toy/imports", json={"files": [{"name": "s.json", "text": wrong}]})
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:bitplan:problem:invalid-import"
    assert answer.json()["key"] == "model.layers.9.mlp.up_proj"
    assert client.post("/v1/models/toy/imports", json={"files": []}).status_code == 422
    assert client.post("/v1/models/gone/imports", json={"files": [_file(files.MEASUREMENT)]}).status_code == 404
    assert "imported_mlx_lm" not in client.get("/v1/models/toy/settings").text
