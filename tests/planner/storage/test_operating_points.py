"""Plans that cells were measured around."""

import math

import numpy as np
import pytest

from planner.cells import Cell, ProbeSetting
from planner.storage.cells import store_cells
from planner.storage.database import Database
from planner.storage.operating_points import digest, load_point, store_point
from sensitivity.formats.registry import get_format
from sensitivity.statistics import CellStatus, observe
from tests.planner.storage.rows import add_model

LAYERS = {"l1": "INT4_G64", "l0": "INT3_G64"}
SETTING = ProbeSetting(
    probe="marginal",
    code_version=1,
    rounding="rtn",
    rounding_version=1,
    calibration_id=None,
    parameters={"around": digest(LAYERS)},
    in_nats=True,
    additive=True,
)


def cell() -> Cell:
    fmt = get_format("INT4_G64")
    return Cell("l0", fmt.name, fmt.identity, CellStatus.MEASURED, -0.5, 0.1, 2.0, -1.0, 0.6)


def test_a_point_is_kept_and_measured_again_in_its_place(database: Database) -> None:
    model = add_model(database)
    with database.session() as session:
        store_cells(session, model, SETTING, [cell()])
        store_point(session, model, SETTING.id, LAYERS, observe(np.array([0.2, 0.4])), job_id="j")
    with database.read_session() as session:
        point = load_point(session, model, SETTING.id)
        assert point is not None
        assert dict(point.layers) == LAYERS
        assert point.loss == pytest.approx(0.3)
        assert point.standard_error == pytest.approx(0.1)
        assert load_point(session, model, "other") is None
    with database.session() as session:
        store_point(session, model, SETTING.id, LAYERS, observe(np.array([0.7])))
    with database.read_session() as session:
        point = load_point(session, model, SETTING.id)
        assert point is not None
        assert point.loss == 0.7
        assert math.isnan(point.standard_error)


def test_the_digest_is_of_the_assignment_alone() -> None:
    assert digest(LAYERS) == digest(dict(reversed(LAYERS.items())))
    assert digest(LAYERS) != digest({**LAYERS, "l0": "INT4_G64"})
    assert len(digest({})) == 32
