"""Agreement against exact cases, and its error against draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.curve_tools.agreement import Agreement, agreement


def agree(first: list[float], second: list[float], *, error: float = 0.0) -> Agreement:
    one, two = np.array(first), np.array(second)
    return agreement(one, two, first_error=error * np.abs(one), second_error=error * np.abs(two))


def test_one_order_is_full_agreement_whatever_the_sizes() -> None:
    found = agree([1.0, 2.0, 3.0], [1.0, 4.0, 9.0])
    assert [found.cells, found.spearman, found.kendall] == pytest.approx([3, 1, 1])
    assert found.ratio == pytest.approx(6 / 14)
    assert found.ratio_error == 0


def test_a_pair_out_of_order() -> None:
    found = agree([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0])
    assert found.spearman == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert found.kendall == pytest.approx((5 - 1) / 6)


@pytest.mark.parametrize(("first", "second"), [([1.0], [2.0]), ([1.0, 1.0], [1.0, 2.0]), ([1.0, 2.0], [0.0, 0.0]), ([], [])])
def test_where_there_is_no_order_there_is_no_correlation(first: list[float], second: list[float]) -> None:
    found = agree(first, second)
    assert (found.spearman, found.kendall) == (None, None)


def test_where_the_second_sum_is_not_positive_there_is_no_ratio() -> None:
    for second in ([0.0, 0.0], [-1.0, 0.5]):
        assert agree([1.0, 2.0], second).ratio is None
    assert agree([1e300, 2.0], [1e-300, 0.0]).ratio is None


def test_an_unknown_error_leaves_the_ratio_without_one() -> None:
    unknown = np.array([0.1, np.nan])
    found = agreement(np.array([1.0, 2.0]), np.array([2.0, 2.0]), first_error=unknown, second_error=np.zeros(2))
    assert (found.ratio, found.ratio_error) == (0.75, None)


def test_the_error_of_the_ratio_is_the_spread_of_drawn_ratios() -> None:
    random = np.random.default_rng(0)
    first, second = random.lognormal(0, 1, 30), random.lognormal(0, 1, 30)
    errors = 0.1 * first, 0.2 * second
    found = agreement(first, second, first_error=errors[0], second_error=errors[1])
    drawn = [
        (first + errors[0] * random.standard_normal(30)).sum() / (second + errors[1] * random.standard_normal(30)).sum()
        for _ in range(4000)
    ]
    assert found.ratio_error == pytest.approx(np.std(drawn), rel=0.1)


@given(st.floats(1e-200, 1e200))
def test_losses_of_any_size_have_a_ratio_with_its_error(scale: float) -> None:
    found = agree([scale, 3 * scale], [scale, scale], error=0.1)
    assert found.ratio == pytest.approx(2)
    assert found.ratio_error == pytest.approx(0.1 * np.hypot(np.sqrt(10) / 2, 2 * np.sqrt(2) / 2), rel=1e-6)
