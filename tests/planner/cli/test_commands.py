"""The commands on made-up curves: what they print, their JSON, and their exit codes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from planner.cli import workspace
from planner.cli.app import app
from planner.runtimes import RUNTIMES
from tests.synthetic import add_cells, description, setting

RUNNER = CliRunner()


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A fresh embedded database with one measured model."""
    from tests.synthetic import add_model

    monkeypatch.setenv("BITPLAN_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("BITPLAN_DATABASE_URL", raising=False)
    for cached in (workspace.settings, workspace.open_database):
        cached.cache_clear()
    database = workspace.open_database()
    with database.session() as session:
        identity = add_model(session)
        add_cells(session, description(), setting())
    yield identity
    database.close()
    for cached in (workspace.settings, workspace.open_database):
        cached.cache_clear()


def run(*arguments: str, code: int = 0) -> str:
    result = RUNNER.invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result.stdout


def run_json(monkeypatch: pytest.MonkeyPatch, *arguments: str, code: int = 0) -> Any:
    monkeypatch.setattr("sys.argv", ["bitplan", *arguments, "--json"])
    return json.loads(run(*arguments, "--json", code=code))


def test_formats_of_weights_and_of_the_cache_are_listed_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = {item["name"] for item in run_json(monkeypatch, "formats")}
    caches = {item["name"]: item["effective_bits"] for item in run_json(monkeypatch, "formats", "--kv-cache")["items"]}
    assert caches["K_INT4_CHANNEL"] == 5.0
    assert not weights & caches.keys()
    assert "V_NVFP4" in run("formats", "--kv-cache")


def test_plan_show_export_round_trip(model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plan = run_json(monkeypatch, "plan", model, "--bits", "4.25", "--pin", "*.o_proj=INT8_G64")
    assert plan["size"]["effective_bits"] <= 4.25
    assert plan["proof"]["status"] == "optimal"
    assert {c["format"] for c in plan["choices"] if c["kind"] == "o_proj"} == {"INT8_G64"}
    assert run_json(monkeypatch, "plans", "show", plan["id"])["plan"] == plan
    assert [item["id"] for item in run_json(monkeypatch, "plans", "list")] == [plan["id"]]
    exported = tmp_path / "plan.json"
    run("export", plan["id"], "--target", "json", "--output", str(exported))
    layers = json.loads(exported.read_text())["layers"]
    assert {name: entry["format"] for name, entry in layers.items() if name != "lm_head"} == {
        c["layer"]: c["format"] for c in plan["choices"]
    }
    assert "predicted loss" in run("plans", "show", plan["id"])


def test_a_plan_shows_its_correction_and_its_menu_s_limit(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    holed = ["plan", model, "--bits", "5.25", "--formats", "INT3_G64,INT4_G64,INT8_G64"]
    assert "its cells as measured" in run(*holed)
    plain = run(*holed, "--no-shrinkage")
    assert "corrected loss" in plain
    assert "the menu is the limit: " in plain
    found = run_json(monkeypatch, *holed)
    assert found["corrected"]["loss"] == pytest.approx(found["predicted"]["loss"])
    assert found["menu_limit"]["wider"]["added"]
    assert "low confidence: " in run("plan", model, "--bits", "3.5")


def test_counts_caution_and_alternatives(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [
        "--count",
        ">4<=3",
        "--count",
        "*.down_proj=INT8_G64>=1",
        "--caution",
        "1",
        "--alternatives",
        "2",
        "--rounding",
        "rtn",
    ]
    plan = run_json(monkeypatch, "plan", model, "--bits", "4.25", *asked)
    formats = {choice["layer"]: choice["format"] for choice in plan["choices"]}
    assert sum(name in ("INT5_G64", "INT6_G64", "INT8_G64", "FP8", "BF16") for name in formats.values()) <= 3
    assert "INT8_G64" in {name for layer, name in formats.items() if layer.endswith("down_proj")}
    assert [kept["layers"] for kept in plan["proof"]["counts"]] == [3, 1]
    shown = run("plans", "show", plan["id"])
    for words in ("rounding rtn", "layers above 4 bits", "at most 3", "loss + 1 × error", "alternatives"):
        assert words in shown
    assert "'*.[qk]_proj'" in run("plan", model, "--bits", "4.25", "--count", "*.[qk]_proj>4<=1")
    assert "rounding rtn" in run("frontier", model, "--points", "3", "--rounding", "rtn")
    assert run_json(monkeypatch, "plans", "list")[0]["rounding"] == "rtn"
    assert run_json(monkeypatch, "frontier", model, "--rounding", "gptq", code=2)["error"] == "unmeasured"
    assert run_json(monkeypatch, "plan", model, "--bits", "4", "--count", "nonsense", code=2)["error"] == "invalid-request"
    few = run_json(monkeypatch, "plan", model, "--bits", "3", "--count", "=INT8_G64>=12", code=3)
    assert few["error"] == "budget-below-floor"
    assert run_json(monkeypatch, "plan", model, "--bits", "4", "--count", ">3>=15", code=2)["error"] == "count-conflict"
    monkeypatch.setattr("sys.argv", ["bitplan"])
    told = RUNNER.invoke(app, ["plan", model, "--bits", "4", "--count", "*.[qk]_proj>3>=15"])
    assert "at least 15 of 4 layers that match '*.[qk]_proj' above 3 bits" in told.stderr


def test_exit_codes_tell_what_went_wrong(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_json(monkeypatch, "plan", "nope", "--bits", "4", code=2)["error"] == "not-found"
    assert run_json(monkeypatch, "plan", model, code=2)["error"] == "invalid-request"
    low = run_json(monkeypatch, "plan", model, "--bits", "1", code=3)
    assert low["error"] == "budget-below-floor"
    assert low["smallest_feasible"] == 2.25
    assert run_json(monkeypatch, "plan", model, "--bits", "40", code=3)["error"] == "budget-above-ceiling"
    assert run_json(monkeypatch, "plan", model, "--bits", "40", "--allow-slack")["size"]["effective_bits"] == 16
    assert (
        run_json(monkeypatch, "plan", model, "--bits", "7.5", "--formats", "INT7_G64,INT8_G64", code=2)["error"] == "unmeasured"
    )
    assert run_json(monkeypatch, "models", "add", "/no/such/place", code=2)["error"] == "source-not-found"


def test_listings(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_json(monkeypatch, "models", "list")["items"][0]["id"] == model
    assert len(run_json(monkeypatch, "models", "layers", model)["items"]) == 15
    frontier = run_json(monkeypatch, "frontier", model, "--points", "7", "--menu", "*=INT4_G64,INT8_G64")
    assert [len(frontier["points"]), len(frontier["uniforms"])] == [7, 2]
    shown = run("frontier", model, "--points", "7", "--proven", "--context", "1024")
    assert "knee" in shown
    bounds = run_json(monkeypatch, "bounds", model, "--formats", "INT2_G64,INT8_G64", "--runtime", "vllm")
    assert bounds["groups"] == 8
    assert {item["name"] for item in run_json(monkeypatch, "runtimes")} == set(RUNTIMES)
    assert any(item["name"] == "NVFP4" for item in run_json(monkeypatch, "formats"))
    assert run_json(monkeypatch, "jobs", "list")["items"] == []
    assert run_json(monkeypatch, "db", "upgrade")["upgraded"]
