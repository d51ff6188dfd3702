"""Peak memory of block-streamed probes on a model and on one with four times the blocks, and how well it was forecast."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.memory_run import Run
from tests.tiny_models import tiny_llama

FEW, MANY = 4, 16
GROWTH = 1.10
MOST_ABOVE, MOST_BELOW = 0.25, 0.10
"""Of the truth."""

RUNS: dict[str, dict[str, Any]] = {
    "weight_error": {"probe": "weight_error", "sequences": 0},
    "output_error": {"probe": "output_error"},
    "fisher": {"probe": "fisher"},
    "kl, two blocks": {"probe": "kl", "units": 2, "sequences": 4},
    "output_error, gptq": {"probe": "output_error", "rounding": "gptq"},
}


@dataclass(frozen=True, slots=True)
class Peak:
    """Bytes."""

    peak: int
    forecast: int


def measured(*runs: Run) -> list[Peak]:
    """Runs with one thread, each in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "tests.benchmarks.memory_run", json.dumps([asdict(run) for run in runs])]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return [Peak(facts["peak"], facts["forecast"]) for facts in map(json.loads, done.stdout.splitlines())]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Llamas whose blocks are 51 MB in float32; 0.2 and 0.8 GB."""
    directory = tmp_path_factory.mktemp("llamas")
    return {
        blocks: tiny_llama(directory / f"{blocks}", blocks=blocks, hidden=1024, ffn=2816, heads=16, kv_heads=4, vocab=4096)
        for blocks in (FEW, MANY)
    }


@pytest.mark.benchmark
@pytest.mark.parametrize("name", list(RUNS))
def test_memory_does_not_grow_with_the_blocks(models: dict[int, Path], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    few, many = measured(*(Run(str(models[blocks]), **RUNS[name]) for blocks in (FEW, MANY)))
    growth, off = many.peak / few.peak, many.forecast / many.peak - 1
    with capsys.disabled():
        peaks = f"{few.peak / 1e6:.0f} MB with {FEW} blocks, {many.peak / 1e6:.0f} MB with {MANY}: × {growth:.3f}"
        print(f"\n{name}: {peaks}; forecast {many.forecast / 1e6:.0f} MB, {off:+.0%}")  # noqa: T201
    assert growth < GROWTH
    assert -MOST_BELOW <= off <= MOST_ABOVE


@pytest.mark.benchmark
def test_whole_beside_streamed(models: dict[int, Path], capsys: pytest.CaptureFixture[str]) -> None:
    whole, streamed = measured(*(Run(str(models[MANY]), "weight_error", whole=whole) for whole in (True, False)))
    with capsys.disabled():
        peaks = f"{whole.peak / 1e6:.0f} MB forecast {whole.forecast / 1e6:.0f} MB"
        print(f"\nwhole: {peaks}; streamed: {streamed.peak / 1e6:.0f} MB")  # noqa: T201
    assert streamed.peak < 0.6 * whole.peak
