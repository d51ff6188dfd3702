"""`bitplan import` on small files of each kind."""

import json
from pathlib import Path

import pytest

from tests.planner.cli.test_commands import model, run, run_json
from tests.planner.importers import files

__all__ = ["model"]


def test_files_are_imported_and_planned_with(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run_json(monkeypatch, "import", *(str(files.DATA / name) for name in files.SCHEMES), "--model", "toy")
    assert done["probe"] == "imported_autoround"
    text = run("import", str(files.DATA / files.SENSITIVITIES), "-m", "toy", "--option", "high_bits=6")
    assert "30 cells of 15 layers in 2 formats, from mlx-lm: plan with --probe imported_mlx_lm" in text
    assert "no layers here: model.embed_tokens" in text
    plan = run_json(monkeypatch, "plan", "toy", "--bits", "6", "--probe", "imported_mlx_lm")
    assert {choice["format"] for choice in plan["choices"]} == {"MLX_AFFINE4_G64", "MLX_AFFINE6_G64"}
    configuration = files.DATA / files.CONFIGURATION
    text = run("import", str(configuration), "-m", "toy", "--as", "evopress", "--option", "level_format=INT{level}_G64")
    assert text.startswith("plan ")


def test_a_bad_file_is_one_sentence(model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bad = tmp_path / "m.json"
    bad.write_text(json.dumps({"measurement": {"model.layers.0.mlp": [{}]}, "last_module_idx": 1}))
    error = run_json(monkeypatch, "import", str(bad), "--model", "toy", code=2)
    assert error["error"] == "invalid-import"
    assert error["file"] == "m.json"
    assert error["key"] == "model.layers.0.mlp[0].total_bits"
