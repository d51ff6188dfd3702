"""Curves that are kept: what they say stays, what they take is what the arrays take."""

from dataclasses import replace

import numpy as np

from planner.curves import Curves
from sensitivity.formats.registry import get_format
from sensitivity.statistics import CellStatus

FORMATS = tuple(get_format(name) for name in ("INT2_G64", "INT4_G64"))


def curves(status: str) -> Curves:
    numbers = np.arange(6.0).reshape(3, 2)
    return Curves(("a", "b", "c"), FORMATS, numbers, numbers / 10, np.full((3, 2), status, dtype="<U17"))


def test_one_text_stands_for_all_where_they_are_alike() -> None:
    whole = curves(CellStatus.MEASURED)
    packed = whole.packed()
    packed.freeze()
    assert (packed.status == whole.status).all()
    assert packed.bytes == 2 * 6 * 8 + packed.status.itemsize < whole.bytes
    part = packed.part([2, 0], [1])
    assert part.status.tolist() == [["measured"], ["measured"]]
    assert packed.beside(packed).status.shape == (3, 4)


def test_different_texts_stay() -> None:
    for status in CellStatus:
        whole = curves(CellStatus.MEASURED)
        mixed = replace(whole, status=np.where(np.eye(3, 2, dtype=bool), str(status), whole.status))
        mixed.status[2, 1] = ""
        assert (mixed.packed().status == mixed.status).all()


def test_nothing_is_packed_too() -> None:
    whole = curves(CellStatus.MEASURED)
    empty = whole.part([], [])
    assert empty.packed().status.shape == (0, 0)
