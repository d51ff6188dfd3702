"""What a sensitivity job is asked to measure."""

import pytest

from planner.cells import Cell
from planner.errors import ConflictError, InvalidRequestError
from planner.jobs.job import JobState
from planner.measuring import setting_of
from planner.schemas.jobs import Job, SubmitSensitivity
from planner.services import jobs
from planner.storage.cells import store_cells
from planner.storage.database import Database
from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.registry import get_format
from sensitivity.statistics import CellStatus
from tests import synthetic

REQUEST = SubmitSensitivity(model="toy", probe="weight_error", formats=["INT4_G64"])


def _ask(database: Database, request: SubmitSensitivity) -> Job:
    with database.session() as session:
        return jobs.submit_sensitivity(session, request)


def _with(**changes: object) -> SubmitSensitivity:
    return SubmitSensitivity.model_validate(REQUEST.model_dump() | changes)


@pytest.fixture
def toy(database: Database) -> str:
    with database.session() as session:
        return synthetic.add_model(session)


def test_a_cell_that_is_known_to_have_no_number_is_not_missing(database: Database, toy: str) -> None:
    layers = [layer.name for layer in synthetic.description().layers if layer.kind != "lm_head"]
    request = _with(include=layers[:2])
    how = setting_of(request.model_dump() | {"calibration_id": None})
    identity = get_format("INT4_G64").identity
    cell = Cell(layers[0], "INT4_G64", identity, CellStatus.NO_TOKENS, None, None, 0.0, 0.0, 0.0)
    with database.session() as session:
        store_cells(session, toy, how, [cell])
    assert _ask(database, request).request["layers"] == layers[1:2]


def test_formats_are_measured_once_each_however_they_are_written(database: Database, toy: str) -> None:
    job = _ask(database, _with(formats=["INT8_G64", "int4_g64", "INT4_G64", "INT8_G64"]))
    assert job.request["formats"] == ["INT8_G64", "INT4_G64"]


def test_the_seed_counts_only_for_a_probe_that_draws(database: Database, toy: str) -> None:
    with database.session() as session:
        calibration = synthetic.add_calibration(session)
    settings = {
        (probe, seed): setting_of(_ask(database, _with(probe=probe, calibration=calibration, seed=seed)).request).id
        for probe in ("weight_error", "output_error", "fisher")
        for seed in (0, 1)
    }
    assert settings["weight_error", 0] == settings["weight_error", 1]
    assert settings["output_error", 0] == settings["output_error", 1]
    assert settings["fisher", 0] != settings["fisher", 1]


def test_a_probe_without_data_takes_no_calibration_set(database: Database, toy: str) -> None:
    assert _ask(database, _with(calibration="whatever")).request["calibration_id"] is None


def test_excluding_everything_is_refused(database: Database, toy: str) -> None:
    with pytest.raises(InvalidRequestError, match="include more, or exclude less"):
        _ask(database, _with(exclude=["*"]))


def test_a_job_that_was_cancelled_can_be_queued_again_and_one_that_is_queued_cannot(database: Database, toy: str) -> None:
    job = _ask(database, REQUEST)
    with database.session() as session, pytest.raises(ConflictError):
        jobs.retry_job(session, job.id)
    with database.session() as session:
        jobs.cancel_job(session, job.id)
    with database.session() as session:
        assert jobs.retry_job(session, job.id).state is JobState.QUEUED


def test_a_format_that_can_store_no_layer_is_refused(database: Database, toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse = "in-features are not divisible by 256"
    monkeypatch.setattr(type(get_format("INT4_G64")), "refusal", lambda _self, _shape: refuse)
    with pytest.raises(UnsupportedShapeError, match="leave the format out"):
        _ask(database, REQUEST)
