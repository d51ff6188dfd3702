"""Jobs on streamed models: how it is decided, the same cells, and the memory that is written down."""

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.errors import InvalidRequestError, NotFoundError
from planner.jobs.job import JobState
from planner.jobs.sql_engine import SqlJobEngine
from planner.measuring import setting_of
from planner.schemas.jobs import Job
from planner.schemas.plans import BudgetSpec, EvaluateRequest, PlanRequest
from planner.services import evaluations, plans
from planner.storage.cells import load_curves
from planner.storage.database import Database
from planner.worker import loaded_models
from planner.worker.handlers import SensitivityHandler
from planner.worker.loaded_models import LoadedModels
from planner.worker.memory import available_bytes, peak_bytes, reset_peak
from sensitivity.formats.registry import get_format
from tests import tiny_models
from tests.planner.worker.test_main_job import calibrate, finished, register, submit


@pytest.fixture
def model(database: Database, tmp_path: Path) -> str:
    return register(database, tiny_models.tiny_llama(tmp_path / "llama"))


def little_memory(monkeypatch: pytest.MonkeyPatch, available: int) -> None:
    monkeypatch.setattr(loaded_models, "available_bytes", lambda: available)


def losses(database: Database, model: str, job: Job) -> np.ndarray:
    setting = setting_of(job.request)
    formats = [get_format(name) for name in job.request["formats"]]
    with database.read_session() as session:
        return load_curves(session, model, setting.id, formats, job.request["layers"]).loss


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_cells_do_not_depend_on_streaming_and_the_peak_is_beside_the_forecast(database: Database, model: str) -> None:
    calibration = calibrate(database)
    found = []
    for streaming in ("never", "always"):
        options: dict[str, Any] = {"probe": "fisher", "streaming": streaming, "force": True}
        job = finished(database, submit(database, model, calibration, **options))
        assert job.state is JobState.SUCCEEDED, job.reason
        memory = job.request["memory"]
        assert memory["streamed"] is (streaming == "always")
        assert memory["peak_bytes"] > 0
        assert 0 < memory["streamed_bytes"] < memory["whole_bytes"]
        found.append(losses(database, model, job))
    assert np.isfinite(found[0]).all()
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_auto_streams_what_would_not_fit_and_keeps_what_is_loaded(
    database: Database, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = LoadedModels(database)
    little_memory(monkeypatch, 1 << 10)
    assert models.streams(model)
    assert models.get(model).is_streamed
    little_memory(monkeypatch, 1 << 40)
    assert models.get(model).is_streamed
    whole = models.get(model, streaming="never")
    assert not whole.is_streamed
    little_memory(monkeypatch, 1 << 10)
    assert models.get(model) is whole
    assert models.get(model, streaming="always").is_streamed


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_forecast_of_the_job_decides(database: Database, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    little_memory(monkeypatch, 1 << 30)
    models = LoadedModels(database)
    assert not models.streams(model)
    assert models.streams(model, whole_bytes=2 << 30)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_model_that_cannot_be_streamed_is_loaded_whole(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    little_memory(monkeypatch, 1 << 10)
    gguf = register(database, tiny_models.tiny_gguf(tmp_path / "model.gguf"))
    assert not LoadedModels(database).get(gguf).is_streamed
    with pytest.raises(InvalidRequestError, match="GGUF file"):
        submit(database, gguf, None, probe="weight_error", streaming="always")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_probe_that_needs_the_whole_model(database: Database, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calibration = calibrate(database)
    with pytest.raises(InvalidRequestError, match="coverage needs the whole model"):
        submit(database, model, calibration, probe="coverage", streaming="always")
    little_memory(monkeypatch, 1 << 10)
    job = finished(database, submit(database, model, calibration, probe="coverage"))
    assert job.request["memory"]["streamed"] is False


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_streamed_units_are_larger(database: Database, model: str) -> None:
    calibration = calibrate(database, sequences=20)
    handler = SensitivityHandler(LoadedModels(database))
    counts = []
    for streaming in ("never", "always"):
        job = submit(database, model, calibration, streaming=streaming)
        with database.read_session() as session:
            counts.append(len(handler.enumerate(SqlJobEngine(database).get(session, job.id))))
    assert counts == [3, 1]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_worker_that_may_not_use_so_much_streams_whatever_the_machine_has(database: Database, model: str) -> None:
    assert LoadedModels(database, most_bytes=1).streams(model)
    assert not LoadedModels(database, most_bytes=2**40).streams(model)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_model_that_was_deleted(database: Database) -> None:
    with pytest.raises(NotFoundError, match="was deleted"):
        LoadedModels(database).streams("0" * 64)


def test_the_peak_begins_anew() -> None:
    """Pages of the system's own, not of the heap, which may keep what is freed."""
    with mmap.mmap(-1, 64 << 20) as pages:
        pages.write(b"1" * (64 << 20))
        high = peak_bytes()
    reset_peak()
    assert peak_bytes() < high
    assert available_bytes() > 0


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_evaluations_take_the_model_as_it_is_loaded(database: Database, model: str) -> None:
    """Of a streamed model in one larger unit, with the numbers of the whole model's two."""
    calibration = calibrate(database)
    found = []
    for streaming in ("never", "always"):
        options: dict[str, Any] = {"probe": "weight_error", "streaming": streaming, "force": True}
        assert finished(database, submit(database, model, calibration, **options)).state is JobState.SUCCEEDED
        with database.session() as session:
            request = PlanRequest(model=model, probe="weight_error", budget=BudgetSpec(effective_bits=4.3))
            plan = plans.create_plan(session, request)
            queued = evaluations.submit_evaluation(session, plan.id, EvaluateRequest(calibration=calibration, baselines=[]))
        job = finished(database, queued)
        assert job.state is JobState.SUCCEEDED, job.reason
        memory = job.request["memory"]
        assert memory["streamed"] is (streaming == "always")
        assert memory["peak_bytes"] > 0
        assert 0 < memory["streamed_bytes"] < memory["whole_bytes"]
        with database.read_session() as session:
            measured = evaluations.list_evaluations(session, plan.id).items[0]
        found.append((job.total, measured.sequences, measured.kl.value, measured.perplexity.value))
    assert [total for total, *_ in found] == [2, 1]
    assert found[0][1] == found[1][1] == 5
    np.testing.assert_allclose(found[1][2:], found[0][2:], rtol=1e-9)
