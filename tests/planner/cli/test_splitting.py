"""`split` as people and machines read it."""

import pytest

from tests.planner.cli.test_commands import model, run, run_json

__all__ = ["model"]

SIDES = (
    "split",
    "toy",
    "--front",
    "rtx4090",
    "--back",
    "l4",
    "--link-bandwidth",
    "125MB",
    "--link-ms",
    "0.5",
    "--context",
    "64",
)


@pytest.mark.usefixtures("model")
def test_a_split_is_shown_with_both_sides_and_the_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run(*SIDES, "--front-memory", "170kB", "--back-memory", "170kB")
    for words in ("toy: 1 of 2 blocks on rtx4090, 1 on l4", "optimal over all splits", "both sides", "all splits"):
        assert words in shown
    assert "0: the back takes" in shown
    assert "note: a split is an answer, not a stored plan" in shown
    found = run_json(monkeypatch, *SIDES, "--front-memory", "170kB", "--back-memory", "170kB", "--decode-ms", "1000")
    assert (found["best"]["split"], found["decode_seconds"], len(found["splits"])) == (1, 1.0, 3)
    assert found["best"]["link_seconds"] == pytest.approx(0.0005 + 256 / 125e6)


@pytest.mark.usefixtures("model")
def test_what_cannot_be_kept_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = run_json(monkeypatch, *SIDES, "--front-memory", "1kB", "--back-memory", "1kB", code=3)
    assert refused["error"] == "budget-below-floor"
    assert "no split fits both memories" in refused["detail"]
    assert len(refused["splits"]) == 3
    memories = ("--front-memory", "1MB", "--back-memory", "1MB")
    slow = run_json(monkeypatch, *SIDES, *memories, "--decode-ms", "0.000001", code=3)
    assert slow["unit"] == "decode_seconds"
    wrong = run_json(monkeypatch, *SIDES, *memories, "--decode-ms", "soon", code=2)
    assert "cannot read --decode-ms 'soon'" in wrong["detail"]
