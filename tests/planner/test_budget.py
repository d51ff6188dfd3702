"""Budgets are whole bits, never more than what was asked."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.budget import Budget, BudgetKind, Footprint, Meter
from planner.errors import InvalidRequestError

FOOTPRINT = Footprint(parameters=1000, fixed_bytes=500, kv_elements_per_token=10)


def test_effective_bits_round_down() -> None:
    assert Budget(BudgetKind.EFFECTIVE_BITS, 4.2509).layer_bits(FOOTPRINT) == 4250
    assert Budget(BudgetKind.EFFECTIVE_BITS, 0.1).layer_bits(Footprint(10, 0, 0)) == 1  # 0.1 is meant, not its float


def test_file_bytes_pay_for_what_is_not_planned() -> None:
    assert Budget(BudgetKind.FILE_BYTES, 600).layer_bits(FOOTPRINT) == 800
    assert Budget(BudgetKind.FILE_BYTES, 400).layer_bits(FOOTPRINT) == -800


def test_resident_bytes_pay_for_cache_and_workspace() -> None:
    budget = Budget(BudgetKind.RESIDENT_BYTES, 2000, context=7, batch=3, workspace_bytes=80)
    assert budget.kv_bytes(FOOTPRINT) == 420
    assert budget.layer_bits(FOOTPRINT) == 8 * (2000 - 500 - 420 - 80)


@given(st.sampled_from([kind for kind in BudgetKind if kind.counts_bits]), st.integers(0, 10**15), st.integers(1, 10**12))
def test_the_least_feasible_budget_is_feasible(kind: BudgetKind, bits: int, parameters: int) -> None:
    footprint = Footprint(parameters, 12345, 6)
    least = Budget(kind, 1.0).of_layer_bits(bits, footprint)
    if kind is BudgetKind.EFFECTIVE_BITS:
        assert abs(least * parameters - bits) <= 1e-9 * max(bits, 1)
        assert least == 0 or bits <= Budget(kind, least).layer_bits(footprint)
    elif least > 0:
        assert bits <= Budget(kind, least).layer_bits(footprint) < bits + 8


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_a_budget_is_a_positive_number(value: float) -> None:
    with pytest.raises(InvalidRequestError, match="positive"):
        Budget(BudgetKind.EFFECTIVE_BITS, value)


def test_context_belongs_to_resident_bytes() -> None:
    with pytest.raises(InvalidRequestError, match="resident_bytes"):
        Budget(BudgetKind.FILE_BYTES, 1e9, context=4096)


@given(
    st.one_of(st.floats(1e-12, 1e18, allow_nan=False), st.integers(1, 2**60)),
    st.integers(1, 10**14),
    st.integers(0, 10**15),
    st.booleans(),
)
def test_room_is_what_the_printed_number_says(value: float, units: int, fixed: int, whole: bool) -> None:
    meant = Fraction(str(value))
    assert Meter(units, fixed, whole).room(value) == int((int(meant) if whole else meant) * units) - fixed
