"""`bitplan curves` on made-up curves: tables, JSON, CSV and pictures."""

import csv
import io
from pathlib import Path

import pytest

from planner.cli import workspace
from planner.cli.curve_pictures import draw_heat_map
from planner.services import curves
from tests.planner.cli.test_commands import model, run, run_json
from tests.synthetic import add_cells, description, setting

__all__ = ["model"]


@pytest.fixture
def compared(model: str) -> str:
    with workspace.open_database().session() as session:
        add_cells(session, description(), setting(probe="kl"), formats=("INT3_G64", "INT4_G64", "BF16"), seed=1)
    return model


def test_a_heat_map_of_experts_and_of_what_is_outside_of_the_blocks(model: str, tmp_path: Path) -> None:
    with workspace.open_database().read_session() as session:
        found = curves.get_curves(session, model, formats=["INT4_G64"])
    first = found.items[0]
    outside = first.model_copy(update={"block": None, "kind": "lm_head"})
    unknown = first.model_copy(update={"loss": None, "status": "no_tokens"})
    drawn = draw_heat_map(found.model_copy(update={"items": [*found.items, first, outside, unknown]}), tmp_path / "map.png")
    assert is_png(drawn)
    assert is_png(draw_heat_map(found.model_copy(update={"items": [unknown]}), tmp_path / "empty.png"))


def is_png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG\r\n")


def test_fits(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run_json(monkeypatch, "curves", "fit", model)
    assert len(found["items"]) == 14
    assert found["pooled_beta"] == pytest.approx(4, rel=0.1)
    rows = list(csv.DictReader(io.StringIO(run("curves", "fit", model, "--csv", "--layers", "*.q_proj"))))
    assert [row["kind"] for row in rows] == ["q_proj", "q_proj"]
    shown = run("curves", "fit", model, "--formats", "INT4_G64")
    assert "too_few" in shown
    assert "no layer has a curve; 14 of 14 layers are flagged" in shown
    assert "in the median" in run("curves", "fit", model)
    assert run_json(monkeypatch, "curves", "fit", model, "--probe", "kl", code=2)["error"] == "unmeasured"


def test_a_comparison_and_its_scatter(compared: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    picture = tmp_path / "scatter.png"
    shown = run("curves", "compare", compared, "fisher", "kl", "--picture", str(picture))
    assert "INT3_G64" in shown
    assert "all" in shown
    assert is_png(picture)
    ids = [item["id"] for item in run_json(monkeypatch, "curves", "list", compared)["items"]]
    found = run_json(monkeypatch, "curves", "compare", compared, *ids)
    assert [item["format"] for item in found["items"]] == ["INT3_G64", "INT4_G64", "BF16"]
    assert "kl" in run("curves", "list", compared)


def test_a_scatter_without_a_positive_loss_is_empty(compared: str, tmp_path: Path) -> None:
    run("curves", "compare", compared, "fisher", "kl", "--formats", "BF16", "--picture", str(tmp_path / "empty.png"))
    assert is_png(tmp_path / "empty.png")


def test_heat_maps(model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for formats in ("INT2_G64", "INT4_G64,BF16", "BF16"):
        run("curves", "heatmap", model, "--formats", formats, "--output", str(tmp_path / "map.png"))
        assert is_png(tmp_path / "map.png")
        (tmp_path / "map.png").unlink()
    monkeypatch.setattr("sys.argv", ["bitplan"])
    for wrong in (tmp_path / "map.jpg", tmp_path / "nowhere" / "map.png"):
        run("curves", "heatmap", model, "--output", str(wrong), code=2)
    run("curves", "heatmap", model, "--layers", "nothing", "--output", str(tmp_path / "map.png"), code=2)
