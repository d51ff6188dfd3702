"""Drifts of layers, and cells that were taken over."""

import dataclasses

from sqlalchemy import delete, func, select

from planner.cells import ProbeSetting
from planner.storage.cells import load_cells, load_curves
from planner.storage.database import Database
from planner.storage.drifts import load_cell_drifts, load_drift, store_drift
from planner.storage.tables import LayerDriftRow, ModelRow
from sensitivity.statistics import CellStatus
from tests.planner.storage.rows import add_model
from tests.planner.storage.test_cells import INT4, INT8, SETTING, cell, store

OTHER = "f" * 64


def test_a_drift_is_of_two_checkpoints_and_the_last_comparison_counts(database: Database) -> None:
    model = add_model(database, reverse=True)
    with database.session() as session:
        store_drift(session, model, OTHER, {"l0": 0.5, "l1": 0.25, "l2": 1.0})
        store_drift(session, model, "a" * 64, {"l0": 0.125})
        store_drift(session, model, OTHER, {"l2": None, "l0": 0.0})
    with database.read_session() as session:
        assert list(load_drift(session, model, OTHER).items()) == [("l0", 0.0), ("l2", None)]
        assert load_drift(session, model, "a" * 64) == {"l0": 0.125}
        assert load_drift(session, OTHER, model) == {}
    with database.session() as session:
        session.execute(delete(ModelRow).where(ModelRow.id == model))
    with database.read_session() as session:
        assert session.scalar(select(func.count()).select_from(LayerDriftRow)) == 0


def test_cells_are_loaded_as_they_were_stored(database: Database) -> None:
    model = add_model(database)
    cells = [
        cell("l0", INT4, 0.5, standard_error=0.1, total_squares=0.75),
        cell("l1", INT4, None, CellStatus.NO_TOKENS, samples=0.0),
        cell("l2", INT8, 0.25, drift=1e-3),
    ]
    store(database, model, *cells)
    store(database, model, cell("l0", INT8, 9.0), setting=dataclasses.replace(SETTING, parameters={}))
    with database.read_session() as session:
        assert load_cells(session, model, SETTING.id, [INT4, INT8]) == cells
        assert load_cells(session, model, SETTING.id, [INT8]) == cells[2:]
        assert load_cells(session, OTHER, SETTING.id, [INT8]) == []


def test_a_cell_keeps_where_it_is_from_until_it_is_measured(database: Database) -> None:
    model = add_model(database)
    taken = ProbeSetting("fisher", 1, "rtn", 1, None, {"reused_from": OTHER}, in_nats=True, additive=True)
    store(database, model, cell("l0", INT4, 0.5, drift=0.0), cell("l1", INT4, 0.25, drift=1e-3), setting=taken)
    with database.read_session() as session:
        assert load_cell_drifts(session, model, taken.id) == {("l0", "INT4_G64"): 0.0, ("l1", "INT4_G64"): 1e-3}
    store(database, model, cell("l1", INT4, 0.125), setting=taken)
    with database.read_session() as session:
        assert load_cell_drifts(session, model, taken.id) == {("l0", "INT4_G64"): 0.0}
        assert load_curves(session, model, taken.id, [INT4], ["l1"]).loss.tolist() == [[0.125]]
