"""Jobs whose units fail in part: what was measured is kept, what was not stays unmeasured and is asked for again."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from planner.jobs.engine import Job as Snapshot
from planner.jobs.engine import JobState, UnitSpec
from planner.jobs.sql_engine import SqlJobEngine
from planner.measuring import setting_of
from planner.schemas.calibrations import CreateCalibration
from planner.schemas.jobs import Job, SubmitSensitivity
from planner.services import calibrations, jobs, models
from planner.storage.cells import load_cells
from planner.storage.database import Database
from planner.worker.handlers import SensitivityHandler
from planner.worker.loaded_models import LoadedModels
from planner.worker.loop import Worker
from sensitivity.formats.registry import get_format
from tests.tiny_models import tiny_llama

FORMATS = ["INT4_G32"]
TEXT = " ".join(f"The {n}th sentence says that {n} and {n * n} are numbers." for n in range(300))

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@dataclass(slots=True)
class Broken(SensitivityHandler):
    """Cannot do the unit with one key."""

    key: str = ""

    def run(self, job: Snapshot, unit: UnitSpec) -> NDArray[np.float64]:
        if unit.key == self.key:
            msg = "no memory left"
            raise MemoryError(msg)
        return SensitivityHandler.run(self, job, unit)


@pytest.fixture
def model(database: Database, tmp_path: Path) -> str:
    described = models.inspect(str(tiny_llama(tmp_path / "llama", hidden=32, ffn=64)))
    with database.session() as session:
        return models.register(session, described)[0].id


def measure(database: Database, request: SubmitSensitivity, *, broken: str) -> Job:
    with database.session() as session:
        job = jobs.submit_sensitivity(session, request)
    handler = Broken(LoadedModels(database), key=broken)
    Worker(SqlJobEngine(database, backoff_seconds=0.0), {"sensitivity": handler}, poll_seconds=0.01).run(until_idle=True)
    with database.read_session() as session:
        return jobs.get_job(session, job.id)


def samples(database: Database, job: Job) -> dict[str, float]:
    with database.read_session() as session:
        cells = load_cells(session, job.model, setting_of(job.request).id, [get_format(name) for name in FORMATS])
    return {cell.layer: cell.samples for cell in cells}


def test_layers_of_a_failed_block_stay_unmeasured_and_are_asked_for_again(database: Database, model: str) -> None:
    request = SubmitSensitivity(model=model, probe="weight_error", formats=FORMATS)
    job = measure(database, request, broken="000001")
    assert (job.state, job.failed, [failure.unit for failure in job.failures]) == (JobState.SUCCEEDED, 1, ["000001"])
    assert "MemoryError: no memory left (tried 3 times)" in (job.reason or "")
    known = samples(database, job)
    asked = job.request["layers"]
    assert {layer for layer in asked if layer not in known} == {layer for layer in asked if ".layers.1." in layer}
    again = measure(database, request, broken="")
    assert (again.state, again.reason) == (JobState.SUCCEEDED, None)
    assert again.request["layers"] == [layer for layer in asked if layer not in known]


def test_a_failed_unit_of_sequences_costs_its_samples_and_counts_none_of_them_as_zero(database: Database, model: str) -> None:
    cut = CreateCalibration(text=TEXT, sequences=16, sequence_length=8, held_out_sequences=1, held_out_length=8)
    with database.session() as session:
        text = calibrations.create(session, calibrations.prepare(cut))[0].id
    job = measure(database, SubmitSensitivity(model=model, probe="fisher", formats=FORMATS, calibration=text), broken="000008")
    assert (job.state, job.done, job.failed) == (JobState.SUCCEEDED, 1, 1)
    assert set(samples(database, job).values()) == {8.0}


def test_a_failed_unit_of_a_block_and_sequences_costs_the_samples_of_its_block_alone(database: Database, model: str) -> None:
    cut = CreateCalibration(text=TEXT, sequences=16, sequence_length=8, held_out_sequences=1, held_out_length=8)
    with database.session() as session:
        text = calibrations.create(session, calibrations.prepare(cut))[0].id
    request = SubmitSensitivity(model=model, probe="kl", formats=FORMATS, calibration=text, include=["*q_proj"])
    job = measure(database, request, broken="000000-000001")
    assert (job.state, job.failed) == (JobState.SUCCEEDED, 1)
    found = samples(database, job)
    less = {layer: found[layer] for layer in found if ".layers.1." in layer}
    assert set(found.values()) - set(less.values()) == {16.0}
    assert all(0 < count < 16 for count in less.values())
