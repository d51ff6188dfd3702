"""Reducing unit results to cells: the order of keys decides, statuses are kept, nothing is made up."""

import numpy as np

from planner.worker.handlers import cells_of, in_order
from sensitivity.formats.registry import get_format
from sensitivity.statistics import CellStatus, summed

FORMATS = [get_format("INT4_G64"), get_format("INT8_G64")]
SHAPES = {"a": (64, 64), "b": (64, 128)}


def test_the_order_of_arrival_does_not_change_a_bit() -> None:
    rng = np.random.default_rng(0)
    results = [(f"{i:03d}", rng.lognormal(sigma=9, size=(2, 2, 3))) for i in range(40)]
    expected = summed(in_order(results))
    for _ in range(5):
        rng.shuffle(results)
        np.testing.assert_array_equal(summed(in_order(results)), expected)


def test_every_status_reaches_its_cell() -> None:
    statistics = np.array([[[2, 3.0, 5.0], [0, 0, 0]], [[2, np.inf, np.inf], [1, 4.0, 16.0]]])
    cells = {(cell.layer, cell.format): cell for cell in cells_of(["a", "b"], FORMATS, SHAPES, statistics)}
    first = cells["a", "INT4_G64"]
    assert (first.status, first.loss, first.standard_error) == (CellStatus.MEASURED, 1.5, 0.5)
    assert cells["a", "INT8_G64"].status is CellStatus.NO_TOKENS
    assert cells["a", "INT8_G64"].loss is None
    assert cells["b", "INT4_G64"].status is CellStatus.NON_FINITE
    assert cells["b", "INT4_G64"].total is None
    assert cells["b", "INT8_G64"].standard_error is None  # one sample says nothing of the spread
