"""The forecast of memory beside the truth on SmolLM2-135M, each probe in a process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.benchmarks.memory_run import Run

MOST_ABOVE, MOST_BELOW = 0.25, 0.10
"""Of the truth."""


@pytest.mark.benchmark
@pytest.mark.real
def test_forecasts_on_a_real_model(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A unit or two of each: the others are no higher, because ΔW is complete after the first (`output_error` keeps none)."""
    model = str(smollm2)
    runs = [
        Run(model, "weight_error", whole=True),
        Run(model, "fisher", whole=True, sequences=16, length=256),
        Run(model, "hessian_trace", whole=True, sequences=8, length=256),
        Run(model, "output_error", whole=True, sequences=16, length=256, units=2),
    ]
    asked = json.dumps([asdict(run) for run in runs])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "tests.benchmarks.memory_run", asked]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found = {run.probe: json.loads(line) for run, line in zip(runs, done.stdout.splitlines(), strict=True)}
    off = {probe: facts["forecast"] / facts["peak"] - 1 for probe, facts in found.items()}
    with capsys.disabled():
        for probe, facts in found.items():
            sizes = f"peak {facts['peak'] / 1e6:5.0f} MB, forecast {facts['forecast'] / 1e6:5.0f} MB"
            print(f"\n{probe:>14}: {sizes}, {off[probe]:+.0%}", end="")  # noqa: T201
        print()  # noqa: T201
    assert all(-MOST_BELOW <= ratio <= MOST_ABOVE for ratio in off.values())
