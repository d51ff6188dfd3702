"""Counts are counted in layers, solved to the proven optimum, and refused by name."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import solvers
from planner.budget import Budget, BudgetKind, Footprint
from planner.errors import BudgetBelowFloorError, CountConflictError, InvalidRequestError
from planner.solving import Count, Limits, PosedCount, next_best, pose_count, pose_limits, refuse_conflict, rows_of, solve_plan
from tests.planner.solving.instances import FORMATS, assignments, keeps, layers_counted, loss_of, noisy, size_of, tied

CLASSES = tied()
CHOICES = list(assignments(CLASSES))
SHARES = st.floats(0.0, 1.0)


def limits_at(bits: int) -> Limits:
    """So many bits, as effective bits of one weight."""
    return pose_limits([Budget(BudgetKind.EFFECTIVE_BITS, bits)], CLASSES, Footprint(1, 0, 0))


def posed(*counts: Count) -> list[PosedCount]:
    return [pose_count(count, CLASSES) for count in counts]


def budget_at(share: float) -> int:
    return CLASSES.smallest_bits + int(share * (CLASSES.largest_bits - CLASSES.smallest_bits))


@st.composite
def counts(draw: st.DrawFn) -> Count:
    at_most = draw(st.none() | st.integers(0, 7))
    at_least = draw(st.integers(0, 7) if at_most is None else st.none() | st.integers(0, at_most))
    pattern = draw(st.sampled_from(("*", "*_proj", "*.down_proj", "*.k_proj")))
    if draw(st.booleans()):
        return Count(pattern, draw(st.integers(2, 8)), (), at_most, at_least)
    names = draw(st.lists(st.sampled_from(FORMATS), min_size=1, max_size=2, unique=True))
    return Count(pattern, None, tuple(names), at_most, at_least)


def test_a_tied_group_counts_its_members() -> None:
    (above,) = posed(Count("*", 4, (), at_most=3))
    assert above.table.tolist() == [[0, 0, 3], [0, 0, 1], [0, 0, 2], [0, 0, 1]]
    (keys,) = posed(Count("*.k_proj", None, ("INT3_G64",), at_least=1))
    assert keys.lower is not None
    assert keys.lower.table.tolist() == [[0, 1, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert keys.lower.limit == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), SHARES, st.lists(counts(), min_size=1, max_size=3))
def test_plans_with_counts_are_the_best_of_all_assignments(seed: int, share: float, asked: list[Count]) -> None:
    curves, counted, budget = noisy(CLASSES, seed), posed(*asked), budget_at(share)
    rows = rows_of(counted)
    kept = [choice for choice in CHOICES if size_of(CLASSES, choice) <= budget and keeps(counted, CLASSES, choice)]
    if not kept:
        with pytest.raises(CountConflictError):
            solve_plan(CLASSES, curves, budget, deadline=None, rows=rows)
        return
    solved = solve_plan(CLASSES, curves, budget, deadline=None, rows=rows)
    assert solved.proved.status is solvers.Status.OPTIMAL
    assert keeps(counted, CLASSES, solved.proved.choice)
    assert solved.size_bits == size_of(CLASSES, solved.proved.choice) <= budget
    assert solved.proved.loss == pytest.approx(min(loss_of(curves, choice) for choice in kept), rel=1e-9)
    assert solved.proved.lagrangian_bound <= solved.proved.loss
    priced = curves.loss + solved.price * CLASSES.sizes + np.tensordot(solved.prices, [row.table for row in rows], 1)
    bound = priced.min(axis=1).sum() - solved.price * budget - solved.prices @ [row.limit for row in rows]
    assert bound == pytest.approx(solved.proved.lagrangian_bound, rel=1e-9, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(SHARES, st.lists(counts(), min_size=1, max_size=4))
def test_a_refusal_names_counts_of_which_none_can_be_left_out(share: float, asked: list[Count]) -> None:
    counted, bits = posed(*asked), budget_at(share)
    rows, by_text = rows_of(counted), {row.text: row for row in rows_of(counted)}

    def within(texts: list[str], limit: int) -> bool:
        tables = [(by_text[text].table, by_text[text].limit) for text in texts]
        at = np.arange(len(CLASSES.groups))
        return any(
            size_of(CLASSES, choice) <= limit and all(table[at, choice].sum() <= most for table, most in tables)
            for choice in CHOICES
        )

    if within(list(by_text), bits):
        return
    with pytest.raises((CountConflictError, BudgetBelowFloorError)) as error:
        refuse_conflict(limits_at(bits), rows, Footprint(1, 0, 0), deadline=None)
    named = error.value.fields["counts"]
    assert isinstance(named, list)
    limit = bits if isinstance(error.value, BudgetBelowFloorError) else CLASSES.largest_bits
    assert not within(named, limit)
    for text in named:
        assert len(named) == 1 or within([other for other in named if other != text], limit)
    if isinstance(error.value, BudgetBelowFloorError):
        least = error.value.fields["smallest_feasible"]
        assert isinstance(least, float)
        assert within(list(by_text), round(least))
        assert not within(list(by_text), round(least) - 1)
        makers = error.value.fields["floor_layers"]
        assert isinstance(makers, list)
        assert sum(maker["share"] for maker in makers) <= 1 + 1e-12


def test_more_layers_than_match_cannot_be_asked_for() -> None:
    rows = rows_of(posed(Count("*.down_proj", None, ("INT8_G64",), at_least=2)))
    with pytest.raises(CountConflictError, match=r"at least 2 of 1 layers that match '\*.down_proj' in INT8_G64"):
        refuse_conflict(limits_at(5), rows, Footprint(1, 0, 0), deadline=5.0)


def test_the_layers_of_a_floor_are_those_that_keep_the_counts() -> None:
    rows = rows_of(posed(Count("*", None, ("INT8_G64",), at_least=6)))
    with pytest.raises(BudgetBelowFloorError, match=r"that keeps at least 6 of 7 layers.*Most of it: .*in INT8_G64") as error:
        refuse_conflict(limits_at(CLASSES.smallest_bits), rows, Footprint(1, 0, 0), deadline=5.0)
    makers = error.value.fields["floor_layers"]
    assert isinstance(makers, list)
    assert sum(maker["count"] for maker in makers if maker["format"] == "INT8_G64") >= 6
    assert sum(maker["share"] for maker in makers) == pytest.approx(1)


def test_what_a_count_names_must_exist() -> None:
    with pytest.raises(InvalidRequestError, match=r"count pattern '\*.nothing' matches no planned layer"):
        posed(Count("*.nothing", 4, (), at_most=1))
    with pytest.raises(InvalidRequestError, match=r"INT5_G64.*candidate formats"):
        posed(Count("*", None, ("INT5_G64",), at_most=1))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), SHARES, st.integers(1, 7), st.lists(counts(), max_size=1))
def test_alternatives_are_the_best_at_their_distance(seed: int, share: float, layers: int, asked: list[Count]) -> None:
    curves, counted, budget = noisy(CLASSES, seed), posed(*asked), budget_at(share)
    kept = [choice for choice in CHOICES if size_of(CLASSES, choice) <= budget and keeps(counted, CLASSES, choice)]
    if not kept:
        return
    rows = rows_of(counted)
    best = solve_plan(CLASSES, curves, budget, deadline=None, rows=rows)
    found = next_best(CLASSES, curves, best, count=3, layers=layers, rows=rows, stop=solvers.Deadline())
    members = np.array([len(group) for group in CLASSES.groups])
    before = [best.proved.choice]
    for other in found:
        far = [choice for choice in kept if all(members[choice != near].sum() >= layers for near in before)]
        assert other.solved.proved.loss == pytest.approx(min(loss_of(curves, choice) for choice in far), rel=1e-9)
        assert len(other.layers) == members[other.solved.proved.choice != best.proved.choice].sum() >= layers
        before.append(other.solved.proved.choice)
    if len(found) < 3:
        assert not [choice for choice in kept if all(members[choice != near].sum() >= layers for near in before)]


def test_counted_layers_are_those_of_the_words() -> None:
    (count,) = posed(Count("*.up_proj", 3, (), at_most=1))
    at = np.arange(len(CLASSES.groups))
    assert all(count.table[at, choice].sum() == layers_counted(count, CLASSES, choice) for choice in CHOICES)
