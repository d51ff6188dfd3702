"""Commands under several limits: what they print and what they refuse."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from planner.cli import workspace
from planner.cli.app import app
from tests.planner.services import cached_model

RUNNER = CliRunner()


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A fresh embedded database with a model whose caches were measured too."""
    monkeypatch.setenv("BITPLAN_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("BITPLAN_DATABASE_URL", raising=False)
    for cached in (workspace.settings, workspace.open_database):
        cached.cache_clear()
    database = workspace.open_database()
    with database.session() as session:
        identity = cached_model.add(session)
    yield identity
    database.close()
    for cached in (workspace.settings, workspace.open_database):
        cached.cache_clear()


def run(*arguments: str, code: int = 0) -> str:
    result = RUNNER.invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result.output


def test_limits_caches_and_prices_are_shown(model: str) -> None:
    shown = run("plan", model, "--memory", "450000", "--context", "1024", "--bits", "4.5", "--kv", "int8,int4")
    for text in ("limits", "effective bits", "resident bytes", "does not bind", "caches by tensor and format", "K_INT", "V_INT"):
        assert text in shown
    timed = run("plan", model, "--decode-ms", "100", "--device", "l4", "--allow-slack")
    assert "decode seconds on l4" in timed
    assert "bits left" not in timed


def test_the_smallest_plan_and_its_proof_are_shown(model: str) -> None:
    shown = run("plan", model, "--max-loss", "0.05")
    assert "proven: no plan of fewer bits" in shown
    swept = json.loads(run("plan", model, "--max-loss", "0.02,0.05", "--json"))
    assert swept["planned"] == 2
    table = run("plan", model, "--max-loss", "0.02,0.05")
    assert "loss of 0.02" in table


def test_the_json_export_has_the_caches(model: str) -> None:
    plan = json.loads(run("plan", model, "--memory", "450000", "--context", "1024", "--kv", "int8,int4", "--json"))
    exported = json.loads(run("export", plan["id"], "--target", "json"))
    assert {name: entry["format"] for name, entry in exported["kv_cache"].items()} == {
        choice["layer"]: choice["format"] for choice in plan["kv"]
    }
    frontier = run("frontier", model, "--points", "5", "--context", "1024", "--kv", "int8,int4")
    assert "INT4_G64, INT8" in frontier


def test_a_budget_under_the_floor_ends_with_the_code_of_budgets(model: str) -> None:
    said = run("plan", model, "--memory", "200000", "--context", "1024", "--kv", "int8,int4", code=3)
    assert "the least feasible is" in said
    assert "Most of it: " in said
