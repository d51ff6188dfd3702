"""The probe kl as a job: killed in the middle, it goes on without repeating a unit, and its cells make a plan."""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from planner.jobs.job import JobState
from planner.schemas.calibrations import CreateCalibration
from planner.schemas.jobs import SubmitSensitivity
from planner.schemas.plans import BudgetSpec, PlanRequest
from planner.services import calibrations, curves, jobs, models, plans
from planner.settings import Settings
from planner.storage.database import Database
from planner.storage.tables import CellRow
from planner.worker.process import make_worker
from sensitivity.probes.base import ProbeRun, Unit
from sensitivity.probes.kl import KLDivergence
from sensitivity.statistics import Statistics, mean_and_error
from tests.sensitivity.probes.dense import run_all
from tests.tiny_models import tiny_llama

FORMATS = ["INT2_G32", "INT4_G32"]
TEXT = " ".join(f"The {n}th sentence says that {n} and {n * n} are numbers." for n in range(200))


@pytest.fixture
def sqlite(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    shutil.copyfile(sqlite_template, tmp_path / "bitplan.db")
    opened = Database(f"sqlite:///{tmp_path / 'bitplan.db'}")
    yield opened
    opened.close()


def test_a_killed_job_goes_on_where_it_was(sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described = models.inspect(str(tiny_llama(tmp_path / "llama", hidden=32, ffn=64)))
    text = CreateCalibration(text=TEXT, sequences=6, sequence_length=16, held_out_sequences=1, held_out_length=16)
    prepared = calibrations.prepare(text)
    with sqlite.session() as session:
        model = models.register(session, described)[0].id
        calibration = calibrations.create(session, prepared)[0].id
        request = SubmitSensitivity(model=model, probe="kl", formats=FORMATS, calibration=calibration)
        job = jobs.submit_sensitivity(session, request)

    ended: Counter[str] = Counter()
    runs: list[ProbeRun] = []
    run = KLDivergence.run

    def run_until_killed(self: KLDivergence, shared: ProbeRun, unit: Unit) -> Statistics:
        if len(ended) == 3 and not runs:
            runs.append(shared)
            raise KeyboardInterrupt  # no error that a worker could handle: the process is gone, its lease stays
        found = run(self, shared, unit)
        ended[unit.key] += 1
        return found

    monkeypatch.setattr(KLDivergence, "run", run_until_killed)
    with capture_logs():
        worker = make_worker(sqlite, Settings(lease_seconds=1, torch_threads=1), poll_seconds=0.05)
        with pytest.raises(KeyboardInterrupt):
            worker.run(until_idle=True)
        make_worker(sqlite, Settings(lease_seconds=30, torch_threads=1), poll_seconds=0.05).run(until_idle=True)

    assert sorted(ended) == [f"{first:06d}-{block:06d}" for first in (0, 4) for block in range(3)]
    assert set(ended.values()) == {1}
    with sqlite.session() as session:
        assert jobs.get_job(session, job.id).state is JobState.SUCCEEDED
        measured = curves.get_curves(session, model, probe="kl").items
        plan = plans.create_plan(session, PlanRequest(model=model, probe="kl", budget=BudgetSpec(effective_bits=4.3)))
    monkeypatch.undo()
    expected = mean_and_error(run_all(KLDivergence(), runs[0]))
    found = np.array([[cell.loss, cell.standard_error] for cell in measured], dtype=np.float64)
    assert np.array_equal(found, np.stack(expected, axis=-1).reshape(-1, 2))
    assert plan.predicted.unit == "nats/token"


def test_measuring_one_cell_again_touches_one_cell(sqlite: Database, tmp_path: Path) -> None:
    described = models.inspect(str(tiny_llama(tmp_path / "llama", hidden=32, ffn=64)))
    prepared = calibrations.prepare(
        CreateCalibration(text=TEXT, sequences=2, sequence_length=16, held_out_sequences=1, held_out_length=16)
    )
    with sqlite.session() as session:
        model = models.register(session, described)[0].id
        calibration = calibrations.create(session, prepared)[0].id

    def measure(**options: object) -> dict[tuple[int, int], tuple[float | None, str | None]]:
        request = {"model": model, "probe": "kl", "formats": FORMATS, "calibration": calibration} | options
        with sqlite.session() as session:
            job = jobs.submit_sensitivity(session, SubmitSensitivity.model_validate(request))
        with capture_logs():
            make_worker(sqlite, Settings(lease_seconds=30, torch_threads=1), poll_seconds=0.02).run(until_idle=True)
        with sqlite.read_session() as session:
            assert jobs.get_job(session, job.id).state is JobState.SUCCEEDED
            return {
                (cell.measured_format_id, cell.layer_id): (cell.loss, cell.job_id) for cell in session.scalars(select(CellRow))
            }

    name = described.layers[3].name
    two = measure(cells={name: FORMATS[:1], described.layers[9].name: FORMATS[1:]})
    assert len(two) == 2
    whole = measure()
    assert len(whole) == 2 * (len(described.layers) - 1)
    assert all(whole[key] == cell for key, cell in two.items())  # known cells were left alone
    again = measure(cells={name: FORMATS[:1]}, force=True)
    changed = [key for key in whole if again[key][1] != whole[key][1]]
    assert len(changed) == 1
    assert {key: loss for key, (loss, _) in again.items()} == {key: loss for key, (loss, _) in whole.items()}
