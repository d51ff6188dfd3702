"""A search that is killed, stopped or broken off anywhere goes on bit for bit; a checkpoint of something else is refused."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from solvers import Problem
from solvers.arrays import Floats, Integers
from solvers.errors import SettingError
from solvers.evolutionary import (
    Allowance,
    Checkpoint,
    CheckpointError,
    Ending,
    Evolution,
    Evolutionary,
    Fitness,
    Sample,
    Schedule,
    Stage,
)
from tests.solvers.evolutionary.landscapes import Units, noisy_units
from tests.solvers.evolutionary.test_search import told
from tests.solvers.instances import curves

GENERATIONS = 6
SCHEDULE = Schedule(offspring=10, stages=(Stage(5, 2), Stage(2, 4), Stage(1, 8)), pool=12, seed=3)


def setting() -> tuple[Problem, Units]:
    problem = curves(12, 8, seed=11)
    return problem, noisy_units(problem, 12, seed=11)


def searcher(fitness: Fitness, path: Path | None, generations: int = GENERATIONS) -> Evolutionary:
    kept = Checkpoint(path, "noisy units") if path else None
    return Evolutionary(fitness, SCHEDULE, Allowance(generations=generations), checkpoint=kept)


def undisturbed() -> tuple[Evolution, Units]:
    problem, units = setting()
    return searcher(units, None).search(problem), units


def killing(units: Units, call: int) -> Callable[[Integers, Sample], Floats]:
    def fitness(choices: Integers, sample: Sample) -> Floats:
        if units.calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return units(choices, sample)

    return fitness


def run_and_die(path: str, call: int) -> None:
    problem, units = setting()
    searcher(killing(units, call), Path(path)).search(problem)


def test_a_search_killed_in_the_middle_goes_on_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "evolution.json"
    whole, all_units = undisturbed()
    command = f"from tests.solvers.evolutionary.test_checkpoint import run_and_die; run_and_die({str(path)!r}, 9)"
    root = Path(__file__).parents[3]
    child = subprocess.run([sys.executable, "-c", command], cwd=root, check=False, env={**os.environ, "PYTHONPATH": str(root)})
    assert child.returncode == -signal.SIGKILL
    stored = len(json.loads(path.read_text())["batches"])
    assert 0 < stored < all_units.calls
    problem, units = setting()
    resumed = searcher(units, path).search(problem)
    assert told(resumed) == told(whole)
    assert units.calls == all_units.calls - stored


def test_it_goes_on_from_every_generation(tmp_path: Path) -> None:
    whole, all_units = undisturbed()
    for generations in range(GENERATIONS + 1):
        path = tmp_path / f"{generations}.json"
        problem, units = setting()
        first = searcher(units, path, generations).search(problem)
        assert (first.ending, first.history) == (Ending.GENERATIONS, whole.history[:generations])
        resumed = searcher(units, path).search(problem)
        assert told(resumed) == told(whole)
        assert units.asked == all_units.asked


def test_it_goes_on_from_every_call_that_raised(tmp_path: Path) -> None:
    whole, all_units = undisturbed()
    for call in range(all_units.calls):
        path = tmp_path / f"{call}.json"
        problem, units = setting()

        def fitness(choices: Integers, sample: Sample, units: Units = units, call: int = call) -> Floats:
            if units.calls == call:
                raise KeyboardInterrupt
            return units(choices, sample)

        with pytest.raises(KeyboardInterrupt):
            searcher(fitness, path).search(problem)
        resumed = searcher(units, path).search(problem)
        assert told(resumed) == told(whole)
        assert units.asked == all_units.asked


def test_it_goes_on_from_every_limit(tmp_path: Path) -> None:
    whole, _ = undisturbed()
    path = tmp_path / "evolution.json"
    for most in range(0, whole.evaluations + 40, 13):
        problem, units = setting()
        part = replace(searcher(units, path), allowance=Allowance(GENERATIONS, evaluations=most)).search(problem)
        assert part.evaluations <= max(most, 3)
    assert told(part) == told(whole)
    replayed = searcher(units, path).search(problem, deadline=0.0)
    assert told(replayed) == told(whole)


def test_files_of_another_search_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "evolution.json"
    problem, units = setting()
    searcher(units, path, 1).search(problem)
    changed = Problem(problem.loss * 2, problem.sizes, problem.budgets)
    search = searcher(units, path)
    others = [
        (changed, search),
        (Problem(problem.loss, problem.sizes, problem.budgets + 1), search),
        (problem, replace(search, schedule=replace(SCHEDULE, seed=4))),
        (problem, replace(search, plans=((0,) * 12,))),
        (problem, replace(search, checkpoint=Checkpoint(path, "another model"))),
    ]
    for other, how in others:
        with pytest.raises(CheckpointError, match="of another search"):
            how.search(other)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "evolution.json"
    problem, units = setting()
    searcher(units, path, 1).search(problem)
    text = path.read_text()
    stored = json.loads(text)
    value = stored["batches"][0]["values"][0]
    for damaged, reason in (
        ("", "no whole checkpoint"),
        (text[:-5], "no whole checkpoint"),
        ("[1, 2]", "no whole checkpoint"),
        ("{}", "no whole checkpoint"),
        (text.replace(repr(value), repr(value * 2)), "checksum"),
        (json.dumps({**stored, "version": 99}), "version 99"),
        (json.dumps({**stored, "format": "else"}), "'else'"),
    ):
        path.write_text(damaged)
        with pytest.raises(CheckpointError, match=reason):
            searcher(units, path).search(problem)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        searcher(units, path).search(problem)
    path.write_text(text)
    assert searcher(units, path).search(problem).ending is Ending.GENERATIONS


def test_a_record_of_other_choices_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a change of the moves, or of numpy's random streams."""
    path = tmp_path / "evolution.json"
    problem, units = setting()
    searcher(units, path, 2).search(problem)
    monkeypatch.setattr("solvers.evolutionary.search.Search._offspring", lambda *_: np.zeros((1, 12), dtype=np.int64))
    with pytest.raises(CheckpointError, match="another version"):
        searcher(units, path).search(problem)


def test_values_that_are_not_finite_are_kept(tmp_path: Path) -> None:
    problem, units = setting()

    def fitness(choices: Integers, sample: Sample) -> Floats:
        return np.where(choices.sum(axis=1) % 4 == 1, np.nan, units(choices, sample))

    whole = searcher(fitness, None).search(problem)
    path = tmp_path / "evolution.json"
    searcher(fitness, path, 3).search(problem)
    assert "NaN" not in path.read_text()
    assert told(searcher(fitness, path).search(problem)) == told(whole)


def test_a_write_leaves_nothing_beside_the_file(tmp_path: Path) -> None:
    problem, units = setting()
    searcher(units, tmp_path / "evolution.json").search(problem)
    assert [path.name for path in tmp_path.iterdir()] == ["evolution.json"]
    with pytest.raises(SettingError, match="give 1"):
        Checkpoint(tmp_path / "x.json", "x", every=0)
