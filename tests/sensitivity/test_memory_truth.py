"""The forecast of memory beside the truth: probes on a tiny Llama, each in a process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.benchmarks.memory_run import Run
from tests.tiny_models import tiny_llama

MOST_ABOVE, MOST_BELOW = 0.25, 0.10
"""Of the truth: a forecast that is too low lets a job end for want of memory, one that is too high refuses it."""

WHOLE: tuple[tuple[str, dict[str, int], int, int], ...] = (
    ("fisher", {}, 8, 4),
    ("fisher_interaction", {"draws": 2}, 8, 4),
    ("coverage", {"nodes": 1}, 8, 1),
    ("marginal", {}, 8, 4),
    ("hessian_trace", {}, 8, 4),
    ("kl", {}, 1, 1),
    ("linearity", {"levels": 1}, 1, 1),
    ("kv_cache", {}, 1, 2),
    ("output_error", {}, 8, 4),
    ("evaluation", {}, 4, 2),
)
STREAMED = ("fisher", "evaluation")
FEW = 56
"""Cells that are named one by one, of eight blocks: all of their variants are in memory at once."""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_forecasts_are_near_the_peaks(tmp_path: Path) -> None:
    """With the whole model and block by block; a graph of the whole model is most of what the first five take."""
    model = str(tiny_llama(tmp_path / "llama", blocks=5, hidden=256, ffn=768, heads=8, vocab=2048))
    runs = [
        Run(model, probe, parameters, whole=True, sequences=sequences, formats=formats)
        for probe, parameters, sequences, formats in WHOLE
    ]
    runs += [Run(model, probe, sequences=8) for probe in STREAMED]
    deep = str(tiny_llama(tmp_path / "deep", blocks=8, hidden=256, ffn=256, heads=4, vocab=256))
    runs.append(Run(deep, "kl", whole=True, sequences=1, formats=1, cells=FEW, length=1024))
    asked = json.dumps([asdict(run) for run in runs])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "tests.benchmarks.memory_run", asked]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: dict[tuple[str, bool, int | None], float] = {}
    for run, line in zip(runs, done.stdout.splitlines(), strict=True):
        facts = json.loads(line)
        found[run.probe, run.whole, run.cells] = facts["forecast"] / facts["peak"] - 1
    off = {name: ratio for name, ratio in found.items() if not -MOST_BELOW <= ratio <= MOST_ABOVE}
    assert not off, found
