"""What a sensitivity job is asked to measure."""

from collections import Counter

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


def test_cells_that_are_known_are_left_out_one_by_one(database: Database, toy: str) -> None:
    layers = [layer.name for layer in synthetic.description().layers if layer.kind != "lm_head"]
    request = _with(include=layers[:2], formats=["INT4_G64", "INT8_G64"])
    how = setting_of(request.model_dump() | {"calibration_id": None})
    cell = Cell(layers[0], "INT8_G64", get_format("INT8_G64").identity, CellStatus.MEASURED, 0.1, None, 1.0, 0.1, 0.01)
    with database.session() as session:
        store_cells(session, toy, how, [cell])
    assert _ask(database, request).request["cells"] == {layers[0]: ["INT4_G64"], layers[1]: ["INT4_G64", "INT8_G64"]}
    assert "cells" not in _ask(database, _with(**request.model_dump() | {"force": True})).request


def test_single_cells_are_measured_by_name(database: Database, toy: str) -> None:
    layers = [layer.name for layer in synthetic.description().layers]
    cells = {layers[-1]: ["int8_g64"], layers[0]: ["INT4_G64", "INT8_G64"]}
    job = _ask(database, _with(formats=["INT4_G64", "INT8_G64"], cells=cells))
    assert job.request["layers"] == [layers[0], layers[-1]]
    assert job.request["cells"] == {layers[0]: ["INT4_G64", "INT8_G64"], layers[-1]: ["INT8_G64"]}
    assert _ask(database, _with(formats=["INT4_G64", "INT8_G64"], cells=cells)).id == job.id


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"model.layers.9.nothing": ["INT4_G64"]}, "no layer 'model.layers.9.nothing'"),
        ({"model.layers.0.self_attn.q_proj": ["INT8_G64"]}, "add INT8_G64 to formats"),
    ],
)
def test_cells_that_do_not_exist_are_refused(database: Database, toy: str, cells: dict[str, list[str]], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        _ask(database, _with(cells=cells))


def test_cells_leave_no_room_for_other_selections() -> None:
    with pytest.raises(ValueError, match="leave out include, exclude and sample"):
        _with(cells={"a": ["INT4_G64"]}, sample=3)


def test_a_sample_is_spread_over_formats_and_asked_for_once(database: Database, toy: str) -> None:
    with database.session() as session:
        synthetic.add_cells(session, synthetic.description(), synthetic.setting())
    request = _with(formats=["INT2_G64", "INT4_G64", "INT8_G64"], sample=9, seed=5)
    job = _ask(database, request)
    counts = Counter(name for formats in job.request["cells"].values() for name in formats)
    assert counts == {"INT2_G64": 3, "INT4_G64": 3, "INT8_G64": 3}
    assert _ask(database, request).id == job.id
    other = _ask(database, _with(**request.model_dump() | {"seed": 6}))
    assert other.request["cells"] != job.request["cells"]


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
