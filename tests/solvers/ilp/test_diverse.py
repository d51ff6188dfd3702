"""Plans that differ, against sorting all choices."""

import itertools

import numpy as np
import pytest

from solvers import Mckp, Problem, SettingError, Status, UnsupportedProblemError, solve
from solvers.ilp import Ilp, diverse
from solvers.side_rules import CountRule
from tests.solvers.instances import curves, tiny_problem


def greedy_reference(problem: Problem, count: int, distance: int) -> list[float]:
    """Losses of the best choices, each far enough from those before, by sorting all."""
    rows = np.arange(problem.classes)
    choices = np.array(list(itertools.product(range(problem.items), repeat=problem.classes)))
    losses = problem.loss[rows, choices].sum(axis=1)
    fits = np.isfinite(losses) & (problem.sizes[0, rows, choices].sum(axis=1) <= problem.budgets[0])
    found: list[int] = []
    for c in np.argsort(losses, kind="stable"):
        if fits[c] and all((choices[c] != choices[other]).sum() >= distance for other in found):
            found.append(int(c))
    return [float(losses[c]) for c in found[:count]]


@pytest.mark.parametrize("distance", [1, 2, 4])
def test_next_best_far_enough(distance: int) -> None:
    """Losses without ties, so that there is one list only."""
    for seed in range(4):
        problem = tiny_problem(seed, losses="signed", sizes="bits", forbid=False, classes=5, items=3)
        plans = diverse(problem, Ilp(), 6, distance)
        assert [plan.loss for plan in plans] == pytest.approx(greedy_reference(problem, 6, distance))
        assert all(plan.status is Status.OPTIMAL for plan in plans)


def test_plans_of_a_real_size_differ_and_do_not_improve() -> None:
    problem = curves(120, 8, seed=0)
    plans = diverse(problem, Ilp(), 4, 6)
    losses = [plan.loss for plan in plans]
    assert losses == sorted(losses)
    assert losses[0] == pytest.approx(solve(problem, Mckp()).loss, rel=1e-9)
    assert all((a.choice != b.choice).sum() >= 6 for a, b in itertools.combinations(plans, 2))


def test_stops_when_none_is_left_and_keeps_the_rules() -> None:
    mask = np.array([[False, True], [False, True]])
    problem = Problem(
        np.array([[2.0, 1.0], [3.0, 1.0]]), np.ones((1, 2, 2), dtype=np.int64), np.array([2]), (CountRule(mask, 1),)
    )
    assert [plan.choice.tolist() for plan in diverse(problem, Ilp(), 9, 1)] == [[0, 1], [1, 0], [0, 0]]
    assert len(diverse(problem, Ilp(), 9, 3)) == 1


def test_settings_are_checked() -> None:
    problem = curves(5, 3, seed=0)
    for count, distance in ((0, 1), (1, 0)):
        with pytest.raises(SettingError, match="one or more"):
            diverse(problem, Ilp(), count, distance)
    with pytest.raises(UnsupportedProblemError, match="Ilp"):
        diverse(problem, Mckp(), 2, 1)
