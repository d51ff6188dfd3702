"""Plans of seconds beside plans of bytes on this machine's own kernels: what was predicted, and what the layers really take.

SmolLM2-135M, one thread, processor seconds. The table is measured first; then both plans are made from the same curves, their
210 layers are built on the kernels of their formats, and one pass through all of them is timed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.devices import PICOSECONDS, Device, Phase, Remainder, fixed_picoseconds, latency_table
from planner.jobs.job import JobState
from planner.runtimes import get_runtime
from planner.schemas.calibrations import CreateCalibration
from planner.schemas.devices import PutLatencies
from planner.schemas.jobs import SubmitSensitivity
from planner.schemas.plans import PlanDocument, PlanRequest
from planner.services import calibrations, devices, jobs, models, plans
from planner.settings import Settings
from planner.storage.database import Database
from planner.worker.process import make_worker
from planner.worker.torch_cpu.applying import build_layers, time_layers
from planner.worker.torch_cpu.measuring import measure_device, measure_table
from sensitivity.checkpoint.description import Layer, ModelDescription
from sensitivity.checkpoint.reading import describe
from sensitivity.formats.registry import get_format
from sensitivity.loading import load_model

RUNTIME = "torch-cpu"
FORMATS = ("INT4_G64", "INT8_CHANNEL", "BF16")
BATCHES = (1, 16, 128)
BYTES_BITS = 8.0
"""Effective bits of the plans of bytes."""
FASTER = 0.85
"""Seconds of the layers that a plan of seconds is allowed, beside the plan of bytes."""
TOLERANCE = 0.2

pytestmark = [pytest.mark.benchmark, pytest.mark.real, pytest.mark.parametrize("database", ["sqlite"], indirect=True)]


def measure_curves(database: Database, described: ModelDescription) -> str:
    request = CreateCalibration(sequences=8, sequence_length=128, held_out_sequences=1, held_out_length=128)
    prepared = calibrations.prepare(request)
    with database.session() as session:
        model = models.register(session, described)[0].id
        text = calibrations.create(session, prepared)[0].id
        job = jobs.submit_sensitivity(
            session, SubmitSensitivity(model=model, probe="fisher", formats=list(FORMATS), calibration=text)
        )
    make_worker(database, Settings(torch_threads=1), poll_seconds=0.05).run(until_idle=True)
    with database.read_session() as session:
        assert jobs.get_job(session, job.id).state is JobState.SUCCEEDED
    return model


def measure_machine(database: Database, shapes: list[tuple[int, int]]) -> Device:
    table = measure_table(shapes, formats=FORMATS, batches=BATCHES, threads=1)
    with database.session() as session:
        devices.create_device(session, measure_device("here", threads=1))
        devices.put_latencies(session, "here", PutLatencies.model_validate(table.model_dump()))
        return devices.get_device(session, "here")


def plan(database: Database, model: str, budget: Mapping[str, Any]) -> PlanDocument:
    request = PlanRequest.model_validate({"model": model, "runtime": RUNTIME, "formats": list(FORMATS), "budget": budget})
    with database.read_session() as session:
        return plans.make_plan(session, request)


def assignment(found: PlanDocument) -> dict[str, str]:
    return {choice.layer: choice.format for choice in found.choices}


def layer_seconds(times: np.ndarray[Any, Any], layers: list[Layer], chosen: Mapping[str, str]) -> float:
    return sum(int(times[i, FORMATS.index(chosen[layer.name])]) for i, layer in enumerate(layers)) / PICOSECONDS


def test_a_plan_of_seconds_is_faster_than_one_of_bytes(
    database: Database, smollm2: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    described = describe(str(smollm2))
    layers = [layer for layer in described.layers if layer.kind != "lm_head"]
    model, loaded = measure_curves(database, described), load_model(described)
    here = measure_machine(database, sorted({layer.shape for layer in layers}))
    formats, engine = [get_format(name) for name in FORMATS], get_runtime(RUNTIME)
    rest = Remainder(described.layers, [], described.dtype, described.vocab_size, described.unquantized_bytes)
    small = plan(database, model, {"effective_bits": BYTES_BITS})
    lines = [f"{'':>22} {'bits':>6} {'loss':>8} {'predicted':>10} {'timed':>10} {'ratio':>6}"]
    ratios = []

    def show(label: str, found: PlanDocument, times: np.ndarray[Any, Any], batch: int) -> float:
        chosen = assignment(found)
        predicted = layer_seconds(times, layers, chosen)
        built = build_layers(loaded.linears, chosen)
        timed = time_layers([built[layer.name] for layer in layers], [layer.in_features for layer in layers], batch=batch)
        ratios.append(predicted / timed)
        facts = f"{found.size.effective_bits:6.3f} {found.predicted.loss:8.4f}"
        lines.append(f"{label:>22} {facts} {predicted * 1e3:7.2f} ms {timed * 1e3:7.2f} ms {predicted / timed:6.3f}")
        return timed

    faster = []
    for batch in BATCHES:
        times = latency_table(here, layers, formats, engine, phase=Phase.DECODE, batch=batch)
        allowed = FASTER * layer_seconds(times, layers, assignment(small))
        limit = allowed + fixed_picoseconds(here, rest, phase=Phase.DECODE, batch=batch) / PICOSECONDS
        quick = plan(database, model, {"decode_seconds": limit, "device": "here", "batch": batch})
        assert assignment(quick) != assignment(small)
        assert layer_seconds(times, layers, assignment(quick)) <= allowed * (1 + 1e-9)
        faster.append(show(f"seconds, batch {batch}", quick, times, batch) / show(f"bytes, batch {batch}", small, times, batch))
    with capsys.disabled():
        print("\n".join(["", *lines, f"seconds ÷ bytes, timed: {' '.join(f'{ratio:.2f}' for ratio in faster)}"]))  # noqa: T201
    assert max(faster) < 1
    assert max(abs(ratio - 1) for ratio in ratios) <= TOLERANCE
