"""The studio's page without a browser: what its scripts are given, and what it says before anything was measured."""

import json
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from planner.storage.database import Database
from tests import synthetic
from tests.api.conftest import Measured
from tests.planner.services.cached_model import add_kv_cells

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def controls(html: str) -> dict[str, Any]:
    (block,) = re.findall(r'<script type="application/json" id="controls">(.*?)</script>', html)
    found: dict[str, Any] = json.loads(block)
    return found


def test_a_model_without_curves_says_how_to_get_some(client: TestClient, database: Database) -> None:
    with database.session() as session:
        model = synthetic.add_model(session)
    html = client.get("/models/toy/studio").text
    assert "bitplan measure toy" in html
    assert f"/jobs?model={model}" in html
    assert "studio.js" not in html


def test_scripts_get_what_can_be_asked(client: TestClient, measured: Measured, database: Database) -> None:
    with database.session() as session:
        add_kv_cells(session, synthetic.description(), formats=("INT8", "INT4"))
    given = controls(client.get("/models/toy/studio").text)
    (setting,) = given["settings"]  # prices of caches are none of weights
    assert (setting["id"], setting["probe"]) == (measured.setting, "fisher")
    assert {fmt["name"] for fmt in setting["formats"]} == set(synthetic.FORMATS)
    assert [fmt["name"] for fmt in given["kv_formats"]] == ["K_INT4", "V_INT4", "K_INT8", "V_INT8"]
    refused = {menu["runtime"]: menu for menu in given["runtimes"]}
    assert refused["generic"]["refused"] == {}
    assert set(refused["llama.cpp"]["refused"]) >= set(synthetic.FORMATS) - {"BF16"}
    assert set(refused["vllm"]["kv_refused"]) == {"K_INT4", "V_INT4", "K_INT8", "V_INT8"}


def test_a_name_ends_no_script(client: TestClient, database: Database) -> None:
    described = synthetic.description(name="<!--<script><b>")
    with database.session() as session:
        model = synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting())
    html = client.get(f"/models/{model}/studio").text
    assert "<b>" not in html
    assert controls(html)["model"] == {"id": model, "name": "<!--<script><b>"}
