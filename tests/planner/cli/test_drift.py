"""`bitplan curves drift` and `bitplan measure --reuse` on a tiny model and a fine-tune of it."""

from pathlib import Path

import pytest

from tests import tiny_models
from tests.planner.cli.test_commands import model, run, run_json
from tests.planner.worker.conftest import logs
from tests.planner.worker.test_drift import FAR, fine_tune

__all__ = ["logs", "model"]


def test_a_fine_tune_is_measured_where_it_moved(model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BITPLAN_TORCH_THREADS", "1")
    source = tiny_models.tiny_llama(tmp_path / "llama")
    run("models", "add", str(source))
    run("models", "add", str(fine_tune(source, tmp_path / "tuned", {FAR: 0.2})))
    measured = ("--probe", "weight_error", "--formats", "INT4_G64,INT8_G64")
    run("measure", "llama", *measured, "--json")
    found = run_json(monkeypatch, "curves", "drift", "tuned", "llama", "--formats", "INT4_G64")
    assert {item["layer"]: item["moved"] for item in found["items"] if item["moved"]} == {FAR: ["INT4_G64"]}
    job = run_json(monkeypatch, "measure", "tuned", *measured, "--reuse", "llama")
    assert (job["state"], job["request"]["layers"]) == ("succeeded", [FAR])
    assert "1 of 15 layers moved" in run("curves", "drift", "tuned", "llama", "--formats", "INT4_G64")
    assert run_json(monkeypatch, "curves", "drift", "tuned", "tuned", code=2)["error"] == "invalid-request"
