"""Cells are stored by identity and loaded as arrays."""

import dataclasses
import hashlib
import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from planner.cells import Cell, ProbeSetting
from planner.errors import ConflictError, InvalidRequestError
from planner.storage.cells import load_curves, measured_formats, store_cells
from planner.storage.database import Database
from planner.storage.tables import CellRow, MeasuredFormatRow, ModelRow, ProbeSettingRow
from sensitivity.formats.candidate import CandidateFormat, ElementType, Strategy
from sensitivity.statistics import CellStatus
from tests.planner.storage.rows import add_model

INT4 = CandidateFormat("INT4_G64", 4, ElementType.INT, Strategy.GROUP, 64)
INT8 = CandidateFormat("INT8_G64", 8, ElementType.INT, Strategy.GROUP, 64)
SETTING = ProbeSetting("fisher", 1, "rtn", 1, None, {"draws": 1}, in_nats=True, additive=True)


def cell(layer: str, fmt: CandidateFormat, loss: float | None, status: CellStatus = CellStatus.MEASURED, **other: Any) -> Cell:
    facts: dict[str, Any] = {"standard_error": None, "samples": 3.0, "total": loss, "total_squares": None} | other
    return Cell(layer, fmt.name, fmt.identity, status, loss, **facts)


def store(database: Database, model: str, *cells: Cell, setting: ProbeSetting = SETTING, job_id: str | None = None) -> int:
    with database.session() as session:
        return store_cells(session, model, setting, cells, job_id=job_id)


def number_of(database: Database, table: type[Any]) -> int:
    with database.read_session() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_loaded_curves_are_what_was_stored_in_model_order_and_empty_where_nobody_measured(database: Database) -> None:
    model = add_model(database, reverse=True)
    awkward = 0.1 + 2**-55
    store(
        database,
        model,
        cell("l2", INT4, awkward, standard_error=1e-300),
        cell("l0", INT4, -0.25),
        cell("l0", INT8, None, CellStatus.NO_TOKENS),
        cell("l1", INT8, None, CellStatus.UNSUPPORTED_SHAPE),
    )
    with database.read_session() as session:
        curves = load_curves(session, model, SETTING.id, [INT8, INT4])
    assert curves.layers == ("l0", "l1", "l2")
    assert curves.formats == (INT8, INT4)
    np.testing.assert_array_equal(curves.loss, [[np.nan, -0.25], [np.nan, np.nan], [np.nan, awkward]])
    np.testing.assert_array_equal(curves.standard_error, [[np.nan, np.nan], [np.nan, np.nan], [np.nan, 1e-300]])
    assert curves.status.tolist() == [["no_tokens", "measured"], ["unsupported_shape", ""], ["", "measured"]]


def test_layers_are_loaded_in_the_order_asked_for(database: Database) -> None:
    model = add_model(database)
    store(database, model, cell("l0", INT4, 0.0), cell("l1", INT4, None, CellStatus.NON_FINITE), cell("l2", INT4, 2.0))
    with database.read_session() as session:
        curves = load_curves(session, model, SETTING.id, [INT4], ["l2", "l1"])
        nothing = load_curves(session, model, SETTING.id, [INT4], [])
    assert curves.status[:, 0].tolist() == ["measured", "non_finite"]
    np.testing.assert_array_equal(curves.loss[:, 0], [2.0, np.nan])
    assert nothing.loss.shape == (0, 1)


def test_a_cell_measured_again_replaces_itself_and_nothing_else(database: Database) -> None:
    model = add_model(database)
    assert store(database, model, cell("l0", INT4, 1.0), cell("l1", INT4, 1.5)) == 2
    assert store(database, model, cell("l0", INT4, None, CellStatus.NON_FINITE), cell("l0", INT4, 2.0), job_id="j" * 32) == 1
    assert number_of(database, CellRow) == 2
    with database.read_session() as session:
        curves = load_curves(session, model, SETTING.id, [INT4])
        jobs = session.scalars(select(CellRow.job_id).order_by(CellRow.loss)).all()
    np.testing.assert_array_equal(curves.loss[:, 0], [2.0, 1.5, np.nan])
    assert jobs == [None, "j" * 32]


def test_another_setting_model_or_content_of_a_format_is_another_cell(database: Database) -> None:
    one, two = add_model(database), add_model(database, model_id="n" * 64)
    finer = dataclasses.replace(INT4, scale_dtype="float32", scale_bits=32)
    later = dataclasses.replace(SETTING, code_version=2)
    store(database, one, cell("l0", INT4, 1.0), cell("l0", finer, 2.0))
    store(database, two, cell("l0", INT4, 3.0))
    store(database, one, cell("l0", INT4, 4.0), setting=later)
    with database.read_session() as session:
        assert load_curves(session, one, SETTING.id, [INT4, finer]).loss[0].tolist() == [1.0, 2.0]
        assert load_curves(session, two, SETTING.id, [INT4]).loss[0].tolist() == [3.0]
        assert load_curves(session, one, later.id, [INT4]).loss[0].tolist() == [4.0]
        assert [row.format_identity for row in measured_formats(session, one, later.id)] == [INT4.identity]
        assert len(measured_formats(session, one)) == 3
    assert number_of(database, CellRow) == 4


def test_nothing_is_stored_of_a_call_with_an_unknown_layer(database: Database) -> None:
    model = add_model(database)
    with pytest.raises(InvalidRequestError, match="no layer 'l9'"):
        store(database, model, cell("l0", INT4, 1.0), cell("l9", INT4, 1.0))
    assert number_of(database, CellRow) == number_of(database, ProbeSettingRow) == number_of(database, MeasuredFormatRow) == 0
    with pytest.raises(InvalidRequestError, match="no layer 'l9'"), database.read_session() as session:
        load_curves(session, model, SETTING.id, [INT4], ["l9"])


def test_no_cells_store_nothing(database: Database) -> None:
    assert store(database, add_model(database)) == 0
    assert number_of(database, ProbeSettingRow) == 0


def test_a_probe_whose_loss_changes_its_meaning_needs_another_version(database: Database) -> None:
    model = add_model(database)
    store(database, model, cell("l0", INT4, 1.0))
    with pytest.raises(ConflictError, match="code_version"):
        store(database, model, cell("l0", INT4, 1.0), setting=dataclasses.replace(SETTING, in_nats=False))


def test_cells_go_with_their_model(database: Database) -> None:
    model = add_model(database)
    store(database, model, cell("l0", INT4, 1.0))
    with database.session() as session:
        session.delete(session.get_one(ModelRow, model))
    assert number_of(database, CellRow) == number_of(database, MeasuredFormatRow) == 0
    assert number_of(database, ProbeSettingRow) == 1


def test_what_another_process_wrote_is_loaded(database: Database) -> None:
    model, other = add_model(database), Database(database.full_url)
    store(database, model, cell("l0", INT4, 1.0), cell("l1", INT4, 2.0))
    with other.read_session() as session:
        first = load_curves(session, model, SETTING.id, [INT4])
        again = load_curves(session, model, SETTING.id, [INT4], ["l1", "l0"])
    assert first.loss[:2, 0].tolist() == again.loss[::-1, 0].tolist() == [1.0, 2.0]
    store(database, model, cell("l1", INT4, 3.0), cell("l2", INT4, None, CellStatus.NO_TOKENS))
    with other.read_session() as session:
        found = load_curves(session, model, SETTING.id, [INT4])
    assert found.loss[:2, 0].tolist() == [1.0, 3.0]
    assert found.status[:, 0].tolist() == ["measured", "measured", CellStatus.NO_TOKENS]
    other.close()


def test_a_model_that_is_registered_anew_has_cells_of_its_own(database: Database) -> None:
    model = add_model(database)
    store(database, model, cell("l0", INT4, 1.0), cell("l2", INT4, 2.0))
    with database.read_session() as session:
        assert load_curves(session, model, SETTING.id, [INT4]).loss[0, 0] == 1.0
    with database.session() as session:
        session.delete(session.get_one(ModelRow, model))
    add_model(database, model_id="a" * 64)  # takes the numbers of the layers that are gone, where numbers are used again
    assert add_model(database) == model
    with database.read_session() as session:
        assert np.isnan(load_curves(session, model, SETTING.id, [INT4]).loss).all()
    store(database, model, cell("l0", INT4, 5.0))
    with database.read_session() as session:
        found = load_curves(session, model, SETTING.id, [INT4])
    assert (found.loss[0, 0], found.status[:, 0].tolist()) == (5.0, ["measured", "", ""])


def test_thousands_of_cells_are_chunked_and_quick(database: Database) -> None:
    model = add_model(database, layers=3_000)
    losses = np.random.default_rng(0).random((3_000, 8))
    formats = [dataclasses.replace(INT4, name=f"F{k}", num_bits=k + 1) for k in range(8)]
    identities = [fmt.identity for fmt in formats]
    cells = [
        Cell(f"l{i}", fmt.name, identities[k], CellStatus.MEASURED, losses[i, k], 0.5, 2.0, 1.0, 1.0)
        for i in range(3_000)
        for k, fmt in enumerate(formats)
    ]
    start = time.process_time()
    assert store(database, model, *cells) == 24_000
    assert time.process_time() - start < 3.0
    with database.read_session() as session:
        curves = load_curves(session, model, SETTING.id, formats)
    np.testing.assert_array_equal(curves.loss, losses)
    assert (curves.standard_error == 0.5).all()
    assert (curves.status == "measured").all()


def test_the_identity_of_a_setting_is_the_hash_of_its_canonical_json() -> None:
    text = (
        '{"calibration_id":null,"code_version":1,"parameters":{"draws":1},"probe":"fisher","rounding":"rtn","rounding_version":1}'
    )
    assert SETTING.id == hashlib.sha256(text.encode()).hexdigest()


@given(st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text()))
def test_the_order_of_parameters_does_not_matter_and_each_value_does(parameters: dict[str, float | int | str]) -> None:
    setting = dataclasses.replace(SETTING, parameters=parameters)
    backwards = dataclasses.replace(SETTING, parameters=dict(reversed(parameters.items())))
    assert setting.id == backwards.id
    for name, value in parameters.items():
        other = dataclasses.replace(SETTING, parameters=parameters | {name: f"{value!r} changed"})
        assert other.id != setting.id


@pytest.mark.parametrize(
    ("status", "loss", "error"),
    [
        (CellStatus.MEASURED, None, None),
        (CellStatus.NO_TOKENS, 0.0, None),
        (CellStatus.MEASURED, math.nan, None),
        (CellStatus.MEASURED, 1.0, math.inf),
    ],
)
def test_a_cell_never_has_a_made_up_number(status: CellStatus, loss: float | None, error: float | None) -> None:
    with pytest.raises(ValueError, match="l0 in INT4_G64"):
        cell("l0", INT4, loss, status, standard_error=error)
