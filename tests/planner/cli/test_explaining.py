"""`plans explain`, `plans retarget`, `family` and `apply` as people and machines read them."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from planner.cli import workspace
from planner.services import models
from tests import synthetic
from tests.planner.cli.test_commands import model, run, run_json
from tests.planner.services.test_families import evaluated
from tests.tiny_models import tiny_llama

__all__ = ["model"]


def plan(monkeypatch: pytest.MonkeyPatch, *options: str) -> str:
    return str(run_json(monkeypatch, "plan", "toy", *options)["id"])


@pytest.mark.usefixtures("model")
def test_layers_are_explained_in_a_table_and_one_alone_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(monkeypatch, "--bits", "4.3", "--runtime", "vllm", "--ceiling", "*.o_proj=4")
    shown = run("plans", "explain", made)
    assert "14 layers" in shown
    assert "0.self_attn.q_proj +2" in shown
    assert "one more MB buys" in shown
    assert "2 of 4 layers" in run("plans", "explain", made, "*.[qk]_proj", "--layers", "2")
    alone = run("plans", "explain", made, "model.layers.0.*.o_proj")
    assert "← chosen" in alone
    assert "INT5_G64 is closed: ceiling *.o_proj=4" in alone
    tied = run("plans", "explain", made, "model.layers.1.mlp.up_proj")
    assert "tied: vllm stores them in one format" in tied
    found = run_json(monkeypatch, "plans", "explain", made, "model.layers.0.*.o_proj")
    assert found["groups"][0]["flip"]["advice"].split(";")[0] in alone
    assert "matches no planned layer" in run_json(monkeypatch, "plans", "explain", made, "nothing", code=2)["detail"]


@pytest.mark.usefixtures("model")
def test_a_retargeted_plan_is_shown_with_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(monkeypatch, "--bits", "4.3")
    shown = run("plans", "retarget", made, "--runtime", "vllm", "--layers", "3")
    for words in ("moves", "why", "tied", "shares its format with", "layers that keep their format take", "gap 0"):
        assert words in shown
    found = run_json(monkeypatch, "plans", "retarget", made, "--runtime", "vllm", "--memory", "250kB", "--context", "4")
    assert found["plan"]["size"]["resident_bytes"] <= 250_000
    assert run_json(monkeypatch, "plans", "show", found["plan"]["id"])["plan"] == found["plan"]
    refused = run_json(monkeypatch, "plans", "retarget", made, "--runtime", "vllm", "--bits", "4,5", code=2)
    assert "one plan" in refused["detail"]


@pytest.mark.usefixtures("model")
def test_a_family_is_shown_with_its_crossings(monkeypatch: pytest.MonkeyPatch) -> None:
    other = synthetic.description(name="larger", hidden=192)
    with workspace.open_database().session() as session:
        text = synthetic.add_calibration(session)
        synthetic.add_model(session, other)
        synthetic.add_cells(session, other, synthetic.setting())
    for identity, nll in ((synthetic.description().fingerprint, 3.1), (other.fingerprint, 3.0)):
        evaluated(workspace.open_database(), identity, text, nll)
    shown = run("family", "toy", "larger", "--file", "--points", "6", "--formats", "INT3_G64,INT4_G64,INT8_G64")
    assert "bytes on the larger model larger at" in shown
    assert "note: models are compared by reference NLL + predicted KL" in shown
    found = run_json(monkeypatch, "family", "toy", "larger", "--context", "8", "--points", "3")
    assert (found["limit"], found["text"]) == ("resident_bytes", text)


@pytest.mark.usefixtures("model")
def test_a_plan_becomes_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    described = models.inspect(str(tiny_llama(tmp_path / "llama")))
    with workspace.open_database().session() as session:
        models.register(session, described, name="tiny")
        synthetic.add_cells(session, described, synthetic.setting(), formats=("INT4_G64", "INT8_G64"))
    made = run_json(monkeypatch, "plan", "tiny", "--bits", "5")["id"]
    packed = run_json(monkeypatch, "apply", made, str(tmp_path / "packed"))
    assert (packed["fake"], packed["checkpoint"]) == (False, str(tmp_path / "packed"))
    assert "model.layers.0.mlp.up_proj.weight_packed" in load_file(tmp_path / "packed" / "model.safetensors")
    assert "is not empty" in run_json(monkeypatch, "apply", "no plan", str(tmp_path / "packed"), code=2)["detail"]  # at once
    assert "of weights" in run("apply", made, str(tmp_path / "dense"), "--fake", "--dtype", "float32")
    dense = load_file(tmp_path / "dense" / "model.safetensors")
    assert {str(tensor.dtype) for tensor in dense.values()} == {"torch.float32"}
    refused = run_json(monkeypatch, "apply", made, str(tmp_path / "no"), "--fake", "--target", "json", code=2)
    assert "leave out --target" in refused["detail"]
    assert "--fake too" in run_json(monkeypatch, "apply", made, str(tmp_path / "no"), "--dtype", "float32", code=2)["detail"]
