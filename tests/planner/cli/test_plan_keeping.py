"""Batches, names, pins, the trail and differences of plans on the command line."""

import json
from pathlib import Path

import pytest

from planner.cli.app import app
from tests.planner.cli.test_commands import RUNNER, model, run, run_json

__all__ = ["model"]


def plan(monkeypatch: pytest.MonkeyPatch, bits: str) -> str:
    return str(run_json(monkeypatch, "plan", "toy", "--bits", bits)["id"])


@pytest.mark.usefixtures("model")
def test_several_budgets_are_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run("plan", "toy", "--bits", "4.25,5.25")
    assert "2 plans" in shown
    listed = run_json(monkeypatch, "plans", "list")
    assert all(item["id"] in shown for item in listed)
    answer = run_json(monkeypatch, "plan", "toy", "--bits", "4.25,1,5.25", code=3)
    assert [item["problem"] and item["problem"]["type"].rpartition(":")[2] for item in answer["items"]] == [
        None,
        "budget-below-floor",
        None,
    ]
    monkeypatch.setattr("sys.argv", ["bitplan"])
    assert "below the smallest plan" in run("plan", "toy", "--bits", "4.25,1", code=3)


@pytest.mark.usefixtures("model")
def test_a_file_of_questions_is_one_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    questions = [
        {"budget": {"effective_bits": 4.25}},
        {"budget": {"effective_bits": 5}, "runtime": "generic", "caution": 1},
        {"budget": {"effective_bits": 5}, "model": "nobody\u2028here"},
    ]
    text = "\n\n".join(json.dumps(question, ensure_ascii=False) for question in questions)
    file.write_text(text, encoding="utf-8")
    answer = run_json(monkeypatch, "plan", "toy", "--batch-file", str(file), "--runtime", "vllm", code=2)
    assert [item["summary"] and item["summary"]["runtime"] for item in answer["items"]] == ["vllm", "generic", None]
    assert (answer["planned"], answer["failed"]) == (2, 1)
    for text, what in (("", "holds no question"), ("[1]", "line 1: a question is"), ("{", "no JSON"), ("{}", "line 1: budget")):
        file.write_text(text)
        refused = run_json(monkeypatch, "plan", "toy", "--batch-file", str(file), code=2)
        assert what in refused["detail"]
    for more in (("--bits", "4"), ("--pool", "vram=1GB", "--device", "desk"), ("--context", "9"), ("--workspace", "1MB")):
        refused = run_json(monkeypatch, "plan", "toy", "--batch-file", str(file), *more, code=2)
        assert "budgets of its own" in refused["detail"]
    refused = run_json(monkeypatch, "plan", "toy", "--max-loss", "0.1,0.2", "--measured", code=2)
    assert "answers one --max-loss" in refused["detail"]
    assert "cannot read questions" in run_json(monkeypatch, "plan", "toy", "--batch-file", str(tmp_path), code=2)["detail"]


@pytest.mark.usefixtures("model")
def test_a_name_goes_from_plan_to_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = plan(monkeypatch, "4.25"), plan(monkeypatch, "5.25")
    run("plans", "name", first, "production", "--why", "first release", "--replaces", "none")
    assert run_json(monkeypatch, "plans", "name", second, "production", "--replaces", "none", code=2)["current"] == first
    moved = run_json(monkeypatch, "plans", "name", second, "production", "--replaces", first)
    assert (moved["plan"], moved["version"]) == (second, 2)
    assert run("plans", "which", "toy", "production").strip() == second
    assert run_json(monkeypatch, "plans", "which", "toy", "production") == moved
    assert "production" in run("plans", "names", "toy")
    assert [item["id"] for item in run_json(monkeypatch, "plans", "list", "--name", "production")] == [second]
    assert run_json(monkeypatch, "plans", "delete", second, code=2)["names"] == ["production"]
    run("plans", "unname", "toy", "production", "--why", "withdrawn")
    run("plans", "delete", second, "--why", "space")
    told = run("plans", "history", "--model", "toy")
    for words in ("first release", "withdrawn", "space", "named", "deleted"):
        assert words in told
    lines = run_json(monkeypatch, "plans", "history", first)["items"]
    assert [(line["action"], line["superseded_by"]) for line in lines] == [("named", second)]


@pytest.mark.usefixtures("model")
def test_a_pin_keeps_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, other = plan(monkeypatch, "4.25"), plan(monkeypatch, "5.25")
    run("plans", "pin", kept, "--why", "in the paper")
    assert "pinned" in run("plans", "list", "--pinned")
    assert [item["id"] for item in run_json(monkeypatch, "plans", "list", "--not-pinned")] == [other]
    assert run_json(monkeypatch, "plans", "delete", kept, code=2)["pinned"]
    run("plans", "unpin", kept)
    run("plans", "delete", kept)
    asked = ["--budget-kind", "effective_bits", "--budget-min", "5", "--budget-max", "6", "--since", "2026-01-01", "--probe"]
    assert [item["id"] for item in run_json(monkeypatch, "plans", "list", *asked, "fisher")] == [other]
    assert run_json(monkeypatch, "plans", "list", *asked, "kl") == []


@pytest.mark.usefixtures("model")
def test_two_plans_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = plan(monkeypatch, "4.25"), plan(monkeypatch, "5.25")
    tied = run_json(monkeypatch, "plan", "toy", "--bits", "4.25", "--runtime", "vllm", "--caution", "1")["id"]
    found = run_json(monkeypatch, "plans", "diff", first, second)
    shown = run("plans", "diff", first, second)
    assert f"{len(found['changed'])} of {found['layers']}" in shown
    assert f"{found['bits_change']:+,} bits" in shown
    shown = run("plans", "diff", first, tied, "--layers", "3")
    assert "request.caution: 0.0 → 1.0" in shown
    monkeypatch.setattr("sys.argv", ["bitplan"])
    result = RUNNER.invoke(app, ["plans", "diff", first, "f00"])
    assert result.exit_code == 2
    assert "no plan 'f00'" in result.stderr
