"""Peak memory of block-streamed probes on a model and on one with four times the blocks, and how well it was forecast."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tiny_models import tiny_llama

FEW, MANY = 4, 16
GROWTH = 1.10
TOLERANCE = 0.35
"""Of the forecast, either way: glibc's heap, libraries and temporary tensors are not counted one by one."""

RUNS = {
    "weight_error": ("weight_error",),
    "output_error": ("output_error",),
    "fisher": ("fisher",),
    "kl, two blocks": ("kl", "--units", "2", "--sequences", "4"),
    "output_error, gptq": ("output_error", "--rounding", "gptq"),
}


@dataclass(frozen=True, slots=True)
class Peak:
    """Bytes."""

    peak: int
    forecast: int


def measured(model: Path, *arguments: str) -> Peak:
    """A run in a fresh process with one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "tests.benchmarks.memory_run", str(model), *arguments]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return Peak(**json.loads(done.stdout.splitlines()[-1]))


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
    few, many = (measured(models[blocks], *RUNS[name]) for blocks in (FEW, MANY))
    growth, off = many.peak / few.peak, many.peak / many.forecast
    with capsys.disabled():
        peaks = f"{few.peak / 1e6:.0f} MB with {FEW} blocks, {many.peak / 1e6:.0f} MB with {MANY}: × {growth:.3f}"
        print(f"\n{name}: {peaks}; forecast {many.forecast / 1e6:.0f} MB, truth × {off:.2f} of it")  # noqa: T201
    assert growth < GROWTH
    assert abs(off - 1) < TOLERANCE


@pytest.mark.benchmark
def test_whole_beside_streamed(models: dict[int, Path], capsys: pytest.CaptureFixture[str]) -> None:
    whole, streamed = measured(models[MANY], "weight_error", "--whole"), measured(models[MANY], "weight_error")
    with capsys.disabled():
        peaks = f"{whole.peak / 1e6:.0f} MB with pages of files that can be taken back, forecast {whole.forecast / 1e6:.0f} MB"
        print(f"\nwhole: {peaks}; streamed: {streamed.peak / 1e6:.0f} MB")  # noqa: T201
    assert streamed.peak < 0.6 * whole.peak
