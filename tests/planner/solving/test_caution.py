"""Cautious plans: never worse by their own objective, equal to plain ones without caution, with a bound that holds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import solvers
from planner.build import GroupCurves
from planner.solving import Count, Solved, pose_count, rows_of, solve_plan
from tests.planner.solving.instances import assignments, keeps, loss_of, noisy, size_of, tied

CLASSES = tied()
CHOICES = list(assignments(CLASSES))
AT = np.arange(len(CLASSES.groups))


def budget_at(share: float) -> int:
    return CLASSES.smallest_bits + int(share * (CLASSES.largest_bits - CLASSES.smallest_bits))


def objective(curves: GroupCurves, choice: np.ndarray[tuple[int], np.dtype[np.int64]], caution: float) -> float:
    return loss_of(curves, choice) + caution * math.hypot(*curves.standard_error[AT, choice])


def recomputed(solved: Solved, curves: GroupCurves, caution: float, counts: list[Count]) -> float:
    """The bound from what the document carries."""
    direction = solved.proved.direction
    table = curves.loss if direction is None else curves.loss + caution * curves.standard_error * direction
    assert direction is None or np.linalg.norm(direction) <= 1 + 1e-12
    outside = solved.price * solved.budget_bits
    table = table + solved.price * CLASSES.sizes
    for price, row in zip(solved.prices, rows_of([pose_count(count, CLASSES) for count in counts]), strict=True):
        table, outside = table + price * row.table, outside + price * row.limit
    return float(table.min(axis=1).sum() - outside)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.floats(0.0, 1.0), st.floats(1e-6, 20.0), st.integers(0, 2))
def test_a_cautious_plan_is_no_worse_than_the_plain_one_and_its_bound_holds(
    seed: int, share: float, caution: float, asked: int
) -> None:
    curves, budget = noisy(CLASSES, seed, error=1.0), budget_at(share)
    counts = [Count("*", 4, (), at_most=5), Count("*.q_proj", None, ("INT3_G64",), at_least=0, at_most=1)][:asked]
    posed = [pose_count(count, CLASSES) for count in counts]
    plain = solve_plan(CLASSES, curves, budget, deadline=None, rows=rows_of(posed))
    solved = solve_plan(CLASSES, curves, budget, deadline=None, rows=rows_of(posed), caution=caution)
    proved = solved.proved
    assert proved.objective <= plain.proved.loss + caution * plain.proved.standard_error
    assert proved.objective == pytest.approx(objective(curves, proved.choice, caution), rel=1e-12)
    assert keeps(posed, CLASSES, proved.choice)
    assert solved.size_bits <= budget
    kept = [choice for choice in CHOICES if size_of(CLASSES, choice) <= budget and keeps(posed, CLASSES, choice)]
    assert proved.lower_bound <= min(objective(curves, choice, caution) for choice in kept) * (1 + 1e-9)
    assert proved.lagrangian_bound <= proved.lower_bound * (1 + 1e-9)
    assert recomputed(solved, curves, caution, counts) == pytest.approx(proved.lagrangian_bound, rel=1e-9, abs=1e-12)
    assert 0 <= proved.gap < 1


def test_without_caution_a_plan_is_the_plain_one_bit_for_bit() -> None:
    classes = tied(6)
    for seed in range(5):
        curves = noisy(classes, seed)
        budget = classes.smallest_bits + (classes.largest_bits - classes.smallest_bits) // 3
        problem = solvers.Problem(curves.loss, classes.sizes[None], np.array([budget]))
        direct = solvers.solve(problem, solvers.Mckp())
        proved = solve_plan(classes, curves, budget, deadline=5.0, caution=0.0).proved
        assert proved.choice.tolist() == direct.choice.tolist()
        assert (proved.loss, proved.objective, proved.lower_bound) == (direct.loss, direct.loss, direct.lower_bound)
        assert (proved.status, proved.multipliers.tolist()) == (direct.status, direct.multipliers.tolist())


def test_caution_avoids_the_cell_that_is_better_by_a_hair_and_hardly_known() -> None:
    loss = np.array([[1.0, 0.5, 0.1]] * len(CLASSES.groups))
    error = np.zeros(loss.shape)
    loss[0], error[0, 1] = (0.51, 0.50, 0.52), 0.3
    curves = GroupCurves(loss, error, ())
    plain = solve_plan(CLASSES, curves, CLASSES.largest_bits, deadline=None).proved
    careful = solve_plan(CLASSES, curves, CLASSES.largest_bits, deadline=None, caution=2.0).proved
    assert plain.choice.tolist() == [1, 2, 2, 2]
    assert careful.choice.tolist() == [0, 2, 2, 2]
    assert careful.objective == careful.loss == pytest.approx(plain.loss + 0.01)


def test_without_known_errors_caution_changes_nothing() -> None:
    curves = noisy(CLASSES, 3, error=0.0)
    plain, careful = (solve_plan(CLASSES, curves, budget_at(0.4), deadline=None, caution=k).proved for k in (0.0, 3.0))
    assert careful.choice.tolist() == plain.choice.tolist()
    assert (careful.objective, careful.gap, careful.status) == (plain.loss, 0.0, solvers.Status.OPTIMAL)
