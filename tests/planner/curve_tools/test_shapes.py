"""Convexity of curves against its definition."""

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from planner.curve_tools.shapes import convex

NAN = float("nan")


def test_curves_that_fall_by_a_factor_are_convex() -> None:
    bits = np.array([2.25, 3.25, 4.25, 5.0, 6.25, 8.25])
    assert convex(np.broadcast_to(bits, (3, 6)), np.array([[1e-30], [1.0], [1e30]]) * 4.0**-bits).all()


def test_a_straight_line_is_convex_and_a_bump_is_not() -> None:
    bits = np.array([[2.0, 3.0, 4.0, 6.0]] * 3)
    loss = np.array([[0.7, 0.6, 0.5, 0.3], [0.7, 0.69, 0.1, 0.0], [0.1, 0.2, 0.3, 0.2]])
    assert convex(bits, loss).tolist() == [True, False, False]


def test_order_gaps_and_ties_do_not_matter() -> None:
    bits = np.array([[6.0, 2.0, 4.0, 4.0, 5.0, NAN]])
    assert convex(bits, np.array([[0.1, 9.0, 1.0, 5.0, NAN, 7.0]])).all()
    assert convex(bits, np.full((1, 6), NAN)).all()
    assert convex(np.zeros((0, 3)), np.zeros((0, 3))).shape == (0,)
    assert convex(np.zeros((2, 0)), np.zeros((2, 0))).all()


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_convex_means_below_every_chord(losses: list[int]) -> None:
    bits = np.arange(len(losses), dtype=np.float64)
    expected = all(
        losses[j] * (k - i) <= losses[i] * (k - j) + losses[k] * (j - i) for i, j, k in combinations(range(len(losses)), 3)
    )
    assert convex(bits[None], np.array([losses], dtype=np.float64)).tolist() == [expected]
