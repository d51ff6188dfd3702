"""Engines that fail: each is an answer, and the run goes on."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from planner.errors import ExportError
from tests.exports import __main__ as run
from tests.exports import running
from tests.exports.running import ask
from tests.exports.targets import all_targets

TARGET = replace(all_targets()["compressed-tensors"], engine="faulty")


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "ENGINES", "tests.exports.stand_ins")


def test_an_engine_that_raises_or_dies_is_one_answer_and_the_others_are_asked(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("good-1", "raises", "dies", "good-2")]
    first, raised, died, last = ask(TARGET, places, apart=True)
    assert (first.layers, last.layers) == ({"a": {"bits": 4}},) * 2
    assert first.logits is not None
    assert list(first.versions) == ["numpy"]
    assert (raised.logits, died.logits) == (None, None)
    assert "no kernel for this shape" in raised.fault
    assert died.fault == "ended with 3"


def test_an_engine_that_hangs_is_ended_with_the_processes_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "SECONDS", 2)
    first, hung = ask(TARGET, [tmp_path / "good", tmp_path / "hangs"], apart=True)
    assert first.logits is not None
    assert hung.fault.endswith("was not done after 2 seconds")
    child = int((tmp_path / "hangs.pid").read_text())
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]:
            return
        time.sleep(0.02)
    os.kill(child, 9)
    pytest.fail("the engine's own process went on")


def test_what_fails_is_a_row_of_the_table_and_the_last_line_says_short(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        msg = "no words for this plan"
        raise ExportError(msg)

    monkeypatch.setattr(run, "all_targets", lambda: {"faulty": replace(TARGET, name="faulty", models=("gpt2",))})
    monkeypatch.setattr(run, "load_source", lambda *_: None)
    monkeypatch.setattr(run, "write_plan", refuse)
    assert run.main(["faulty"]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert any("faulty" in line and "gpt2" in line and "no" in line for line in printed)
    assert "faulty of gpt2: not written: no words for this plan" in printed
    assert printed[-1] == "short: 1 faults in 1 exports"


def test_every_engine_can_be_asked_in_a_process_of_its_own() -> None:
    engines = Path(__file__).with_name("engines")
    for target in all_targets().values():
        assert "main(load, *LIBRARIES)" in (engines / f"{target.engine}.py").read_text()


def test_an_unknown_target_is_said_with_those_that_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["mlx", "tensorrt"]) == 2
    line = capsys.readouterr().out.strip()
    assert line.startswith("short: no export is tested under the name tensorrt: use any of autoround, compressed-tensors")
