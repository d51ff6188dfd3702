"""Uniform and greedy choices, and the hulls under them."""

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from solvers import HullGreedy, Mckp, Problem, Status, Uniform, solve
from solvers.hull import walk_hulls
from tests.solvers.instances import curves, one_budget


def test_uniform_is_the_best_column_that_fits() -> None:
    problem = one_budget(np.array([[9.0, 4.0, 1.0], [9.0, 4.0, 1.0]]), np.array([[1, 2, 3], [1, 2, 3]]), 5)
    solution = solve(problem, Uniform())
    assert (solution.choice.tolist(), solution.loss, solution.status) == ([1, 1], 8.0, Status.FEASIBLE)


def test_uniform_takes_a_worse_small_column_only_when_it_must() -> None:
    loss, sizes = np.array([[9.0, 10.0], [9.0, 10.0]]), np.array([[1, 2], [1, 2]])
    assert solve(one_budget(loss, sizes, 4), Uniform()).choice.tolist() == [0, 0]


def test_uniform_says_why_it_has_nothing() -> None:
    loss = np.array([[1.0, np.inf], [np.inf, 1.0]])
    assert "no item is allowed in every class" in solve(one_budget(loss, np.ones((2, 2), dtype=np.int64), 2), Uniform()).reason
    mixed = one_budget(np.zeros((2, 2)), np.array([[1, 3], [3, 1]]), 3)
    solution = solve(mixed, Uniform())
    assert solution.status is Status.FAILED
    assert "[4]" in solution.reason
    assert solve(mixed, Mckp()).status is Status.OPTIMAL


def test_uniform_keeps_several_budgets() -> None:
    sizes = np.array([[[1, 2, 3]] * 2, [[3, 2, 1]] * 2])
    problem = Problem(np.array([[1.0, 2.0, 3.0]] * 2), sizes, np.array([5, 5]))
    assert solve(problem, Uniform()).choice.tolist() == [1, 1]


@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
def test_greedy_has_the_bound_of_the_optimum_and_a_small_gap(share: float) -> None:
    problem = curves(224, 8, seed=5, share=share)
    greedy, optimum = solve(problem, HullGreedy()), solve(problem, Mckp())
    assert greedy.stats.lagrangian_bound == pytest.approx(optimum.stats.lagrangian_bound, rel=1e-9)
    assert optimum.loss <= greedy.loss <= optimum.loss * 1.2
    assert greedy.status is Status.FEASIBLE


def test_greedy_does_not_stall_at_an_item_above_the_hull() -> None:
    """The middle item saves nothing; its neighbour does. A greedy over adjacent items would stop before it."""
    problem = one_budget(np.array([[10.0, 10.0, 0.0]]), np.array([[1, 2, 3]]), 3)
    assert solve(problem, HullGreedy()).choice.tolist() == [2]


def test_greedy_fills_with_later_steps() -> None:
    problem = one_budget(np.array([[10.0, 0.0], [5.0, 0.0], [1.0, 0.0]]), np.array([[0, 4], [0, 4], [0, 1]]), 5)
    assert solve(problem, HullGreedy()).choice.tolist() == [1, 0, 1]


def test_hull_corners_are_those_of_scipy() -> None:
    problem = curves(40, 8, seed=2)
    steps = walk_hulls(problem)
    item = steps.item(slice(None))
    for i in range(problem.classes):
        ours = {int(steps.start[i])} | set(item[steps.klass == i].tolist())
        points = np.column_stack((problem.sizes[0, i] / problem.sizes[0, i].max(), problem.loss[i] / problem.loss[i].max()))
        hull = ConvexHull(np.vstack((points, [points.max(axis=0) + 1, [3, points[:, 1].min()], [points[:, 0].min(), 3]])))
        theirs = {k for k in hull.vertices.tolist() if k < 8}
        assert ours == theirs
