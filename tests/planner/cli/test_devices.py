"""`bitplan device` on one machine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from planner.cli import workspace
from planner.cli.app import app
from planner.worker.torch_cpu import measuring, timing
from tests import synthetic

TABLE = "out_features,in_features,format,batch,seconds\n128,128,INT4_G64,1,1e-5\n64,128,BF16,1,2e-5\n"


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that knows a model with a tied head, and whose kernels are timed hastily."""
    monkeypatch.setenv("BITPLAN_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("BITPLAN_DATABASE_URL", raising=False)
    monkeypatch.setattr(timing, "last_level_cache", lambda: 2**14)
    monkeypatch.setattr(timing, "ROUND_SECONDS", 1e-4)
    for cached in (workspace.settings, workspace.open_database):
        cached.cache_clear()
    opened = workspace.open_database()
    with opened.session() as session:
        synthetic.add_model(session, synthetic.description(blocks=1, head=False))
    yield
    opened.close()
    for cached in (workspace.settings, workspace.open_database):
        cached.cache_clear()


def ask(*arguments: str) -> Any:
    result = CliRunner().invoke(app, ["device", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["device", *arguments])
    assert result.exit_code == 2, result.output
    return result.stderr


def test_a_device_is_copied_changed_and_deleted(tmp_path: Path) -> None:
    facts = ask("show", "l4") | {"name": "l4-slow"}
    facts["pools"][0]["bandwidth"] = {"value": 2e11}
    (tmp_path / "l4.json").write_text(json.dumps(facts))
    assert ask("add", str(tmp_path / "l4.json"))["built_in"] is False
    assert [item["name"] for item in ask("list")["items"]][-1] == "l4-slow"
    shown = CliRunner().invoke(app, ["device", "show", "l4-slow"]).stdout
    assert "200 GB/s" in shown
    assert "unverified" in shown
    assert ask("delete", "l4-slow") == {"deleted": "l4-slow"}
    assert "close to it: l40s, l4" in refused("show", "L40")
    assert "l4" in CliRunner().invoke(app, ["device", "list"]).stdout


def test_a_table_comes_from_csv_or_json(tmp_path: Path) -> None:
    (tmp_path / "l4.json").write_text(json.dumps(ask("show", "l4") | {"name": "mine"}))
    ask("add", str(tmp_path / "l4.json"))
    (tmp_path / "table.csv").write_text(TABLE)
    assert ask("import", "mine", str(tmp_path / "table.csv"))["measured_entries"] == 2
    entry = {"out_features": 8, "in_features": 8, "format": "FP32", "batch": 1, "seconds": 1e-6}
    for content in ([entry], {"entries": [entry], "threads": 4}):
        (tmp_path / "table.json").write_text(json.dumps(content))
        assert ask("import", "mine", str(tmp_path / "table.json"))["measured_entries"] == 1
    assert "1 measured latencies: , 4 threads" in CliRunner().invoke(app, ["device", "show", "mine"]).stdout
    (tmp_path / "bad.csv").write_text(TABLE + "1,2\n")
    assert "line 4" in refused("import", "mine", str(tmp_path / "bad.csv"))
    (tmp_path / "bad.json").write_text("[")
    assert "a latency table, or a .csv file" in " ".join(refused("import", "mine", str(tmp_path / "bad.json")).split())
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe")
    assert "cannot read" in refused("import", "mine", str(tmp_path / "bad.csv"))
    assert "cannot read" in refused("import", "mine", str(tmp_path / "none.csv"))


def test_this_machine_is_measured_by_the_shapes_of_a_model_and_of_options() -> None:
    found = ask("measure", "here", "--model", "toy", "--threads", "1", "--batches", "1,2", "--formats", "int4_g64,BF16")
    assert found["peaks"]["fp32"]["status"] == "measured"
    shapes = 5  # of 128 × 128, 64 × 128, 256 × 128, 128 × 256, and the tied head of 256 × 128
    assert found["measured_entries"] == 2 * (2 * (shapes - 1))
    more = ask("measure", "here", "--shape", "32x48", "--threads", "1", "--batches", "4,4")
    assert more["measured_entries"] == found["measured_entries"] + 3
    assert more["pools"] == found["pools"]
    assert more["digest"] != found["digest"]
    assert "Give another name" in refused("measure", "here", "--shape", "32x48", "--threads", "2", "--batches", "4")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["l4"], "comes with bitplan"),
        (["my laptop"], "'my laptop' can be no name of a device"),
        (["_here"], "can be no name of a device"),
        (["h" * 101], "can be no name of a device"),
        (["here", "--batches", ",".join(map(str, range(1, 2600)))], "more than the 50000 of a table"),
        (["here", "--shape", "32"], "OUTxIN"),
        (["here", "--shape", "0x32"], "whole number"),
        (["here", "--batches", "1,-1"], "whole number"),
        (["here", "--shape", "32x32", "--formats", "INT3_G64", "--batches", "1"], "no kernel"),
        (["here", "--model", "unknown"], "no model"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_timed(
    arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "time_in_turn", None)
    assert says in " ".join(refused("measure", *arguments).split())
    assert all(item["built_in"] for item in ask("list")["items"])
