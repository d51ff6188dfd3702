"""`bitplan measure --adaptive` and `bitplan link` on a tiny model: interrupted, they go on where they were."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from planner.cli import adaptive_measuring, workspace
from planner.cli.app import app
from planner.cli.reporting import JobFailedError
from planner.operations import AbstractOperations
from planner.schemas.adaptive import AdaptiveRequest, AdaptiveStep
from planner.schemas.jobs import SubmitSensitivity
from planner.schemas.plans import BudgetSpec
from sensitivity.probes.base import ProbeRun, Unit
from sensitivity.probes.kl import KLDivergence
from sensitivity.statistics import Statistics
from tests.tiny_models import tiny_llama

RUNNER = CliRunner()
TEXT = " ".join(f"The {n}th sentence says that {n} and {n * n} are numbers." for n in range(200))


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A registered tiny model in a fresh embedded database, and the command that measures it adaptively."""
    monkeypatch.setenv("BITPLAN_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("BITPLAN_TORCH_THREADS", "1")
    monkeypatch.delenv("BITPLAN_DATABASE_URL", raising=False)
    for cached in (workspace.settings, workspace.open_database):
        cached.cache_clear()
    (tmp_path / "text.txt").write_text(TEXT)
    run("models", "add", str(tiny_llama(tmp_path / "llama", hidden=32, ffn=64)), "--name", "tiny")
    text = ["--text", str(tmp_path / "text.txt"), "--sequences", "4", "--sequence-length", "16"]
    held_out = ["--held-out-sequences", "1", "--held-out-length", "16"]
    asked = ["--adaptive", "--budgets", "3.5,4.5", "--tolerance", "0.2", "--cells", "30", "--batch", "10"]
    command = ["measure", "tiny", "--formats", "INT2_G32,INT3_G32,INT4_G32,INT6_G32", *text, *held_out, *asked]
    with capture_logs():  # the console script prints none of them
        yield command
    workspace.open_database().close()
    for cached in (workspace.settings, workspace.open_database):
        cached.cache_clear()


def run(*arguments: str, code: int = 0) -> str:
    result = RUNNER.invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result.stdout


def test_an_interrupted_run_goes_on_without_repeating_a_unit(measure: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    units: Counter[tuple[str, str]] = Counter()
    original = KLDivergence.run

    def counted(self: KLDivergence, shared: ProbeRun[Any], unit: Unit) -> Statistics:
        found = original(self, shared, unit)
        units[json.dumps(shared.cells), unit.key] += 1
        return found

    def interrupted(bitplan: AbstractOperations, job_id: str, **_options: object) -> None:
        while not bitplan.get_job(job_id).done:
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(KLDivergence, "run", counted)
    with monkeypatch.context() as killed:
        killed.setattr(adaptive_measuring, "follow", interrupted)
        assert RUNNER.invoke(app, measure).exit_code != 0
    assert units
    shown = run(*measure)
    assert set(units.values()) == {1}
    assert "round 1: 0 exact cells, 56 open" in shown
    assert "3.5 effective_bits" in shown
    assert "calibrated_fisher" in shown
    assert any(end in shown for end in adaptive_measuring.ENDS.values())
    before = units.copy()
    monkeypatch.setattr("sys.argv", ["bitplan", *measure, "--json"])
    document = json.loads(run(*measure, "--json"))  # nothing is left to measure
    assert units == before
    assert [step["next"] for step in document["steps"]] == [None]
    assert 20 <= document["link"]["exact_cells"] <= 30
    linked = json.loads(run("link", "tiny", "--json"))
    assert linked["setting"] == document["link"]["setting"]
    plan = json.loads(run("plan", "tiny", "--bits", "4.5", "--json"))
    assert plan["provenance"]["setting"] == linked["setting"]
    table = run("link", "tiny")
    for words in ("held out", "rank correlation", "exact", "shape"):
        assert words in table


def test_options_that_contradict_each_other_are_refused(measure: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["bitplan", "--json"])
    for options, words in (
        (["--adaptive"], "give their budgets in effective bits"),
        (["--adaptive", "--budgets", "four"], "give their budgets in effective bits"),
        (["--budgets", "4.5"], "give both, or neither"),
        (["--adaptive", "--budgets", "4.5", "--detach"], "leave out --detach"),
    ):
        told = json.loads(run("measure", "tiny", *options, "--json", code=2))
        assert (told["error"], words in told["detail"]) == ("invalid-request", True)


def test_what_cannot_be_asked_is_refused_before_anything_is_measured(measure: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["bitplan", "--json"])
    place = measure.index("--budgets") + 1
    told = json.loads(run(*measure[:place], "4,1.5", *measure[place + 1 :], "--json", code=3))
    assert (told["error"], told["smallest_feasible"]) == ("budget-below-floor", 2.5)
    told = json.loads(run(*measure[:place], "2.5,6.5,6.51", *measure[place + 1 :], "--json", code=3))
    assert (told["error"], told["largest_useful"]) == ("budget-above-ceiling", 6.5)
    for probe, words in (("kl", "source and target are both 'kl'"), ("perplexity_drop", "it measures no losses of weights")):
        told = json.loads(run("measure", "tiny", "--probe", probe, *measure[4:], "--json", code=2))
        assert (told["error"], words in told["detail"]) == ("invalid-request", True)
    monkeypatch.setattr(adaptive_measuring, "LEAST_PAIRS", 57)
    told = json.loads(run(*measure, "--json", code=2))
    assert (told["error"], told["cells"]) == ("invalid-request", 56)
    assert json.loads(run("jobs", "list", "--json"))["items"] == []


def test_rounds_run_as_the_cheap_job_did_and_end_where_one_measured_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    next_job = SubmitSensitivity(model="m", probe="kl", formats=["INT4_G64"], cells={"a": ["INT4_G64"]})
    step = AdaptiveStep(
        model="m", source="s", target="t", exact_cells=0, open_cells=40, link=None, plans=[], finished=None, next=next_job
    )
    asked: list[SubmitSensitivity] = []

    class Stuck:
        working = staticmethod(nullcontext)

        def next_step(self, _request: AdaptiveRequest) -> AdaptiveStep:
            return step

        def submit_job(self, request: SubmitSensitivity) -> SimpleNamespace:
            asked.append(request)
            return SimpleNamespace(id="job")

    monkeypatch.setattr(adaptive_measuring, "follow", lambda *_, **__: SimpleNamespace(id="job", failed=0))
    like = SubmitSensitivity(model="m", streaming="always", label="big")
    question = AdaptiveRequest(model="m", budgets=[BudgetSpec(effective_bits=4)])
    with pytest.raises(JobFailedError, match="measured none of its cells"):
        adaptive_measuring.measure_adaptively(cast("AbstractOperations", Stuck()), question, like, as_json=True)
    assert asked == [next_job.model_copy(update={"streaming": "always", "label": "big"})]
