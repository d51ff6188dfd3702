"""Score products are stored beside the cells of their format, layer by layer, and go with them."""

from collections.abc import Mapping

import numpy as np
from sqlalchemy import delete, func, select

from planner.cells import ProbeSetting
from planner.storage.cells import store_cells
from planner.storage.database import Database
from planner.storage.score_products import load_products, store_products
from planner.storage.tables import ModelRow, ScoreProductsRow
from sensitivity.cross_terms import Products
from tests.planner.storage.rows import add_model
from tests.planner.storage.test_cells import INT4, INT8, cell

SETTING = ProbeSetting("fisher_interaction", 1, "rtn", 1, None, {"draws": 2}, in_nats=True, additive=True)


def _random(*shape: int) -> Products:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _store(database: Database, model: str, layers: list[str], products: Mapping[str, Products]) -> None:
    with database.session() as session:
        cells = [cell(layer, fmt, 1.0) for layer in layers for fmt in (INT4, INT8) if fmt.identity in products]
        store_cells(session, model, SETTING, cells)
        store_products(session, model, SETTING.id, layers, products, job_id="a job")


def _load(database: Database, model: str, chosen: Mapping[str, list[str]]) -> dict[str, Products]:
    with database.read_session() as session:
        return dict(load_products(session, model, SETTING.id, chosen))


def test_what_is_loaded_is_what_was_stored(database: Database) -> None:
    model, products = add_model(database, reverse=True), _random(3, 5, 2)
    _store(database, model, ["l2", "l0", "l1"], {INT4.identity: products, INT8.identity: -products})
    found = _load(database, model, {INT4.identity: ["l0", "l2"], INT8.identity: ["l1"], "another": ["l0"]})
    assert set(found) == {INT4.identity, INT8.identity}
    np.testing.assert_array_equal(found[INT4.identity], products[[1, 0]])
    np.testing.assert_array_equal(found[INT8.identity], -products[[2]])


def test_a_later_job_replaces_its_own_layers_and_no_others(database: Database) -> None:
    model, first = add_model(database), _random(2, 5, 2)
    _store(database, model, ["l0", "l1"], {INT4.identity: first})
    second = np.stack([first[0] + 1, np.full((5, 2), np.nan, dtype=np.float32)])
    _store(database, model, ["l1", "l0"], {INT4.identity: second})
    found = _load(database, model, {INT4.identity: ["l0", "l1", "l2"]})[INT4.identity]
    np.testing.assert_array_equal(found[:2], [first[0], second[0]])
    assert np.isnan(found[2]).all()


def test_they_go_with_their_model(database: Database) -> None:
    model = add_model(database)
    _store(database, model, ["l0"], {INT4.identity: _random(1, 5, 2)})
    with database.session() as session:
        session.execute(delete(ModelRow).where(ModelRow.id == model))
    with database.read_session() as session:
        assert session.scalar(select(func.count()).select_from(ScoreProductsRow)) == 0
