"""The driver believes nothing: every way to lie is tried."""

import math
import re
from dataclasses import dataclass

import numpy as np
import pytest

from solvers import (
    AbstractSolver,
    Answer,
    BruteForce,
    Deadline,
    HullGreedy,
    Mckp,
    Problem,
    SettingError,
    Stats,
    Status,
    UnsupportedProblemError,
    solve,
)
from tests.solvers.instances import curves, one_budget

PROBLEM = one_budget(np.array([[3.0, 1.0], [2.0, np.inf]]), np.array([[1, 5], [1, 0]]), 4)


@dataclass(frozen=True)
class Says(AbstractSolver):
    """Hands in a fixed answer."""

    answer: Answer

    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        return self.answer


def says(choice: object, *, status: Status = Status.OPTIMAL, multipliers: object = None, reason: str = "") -> Says:
    prices = None if multipliers is None else np.array(multipliers, dtype=float)
    return Says(Answer(status, None if choice is None else np.array(choice), prices, reason=reason))


@pytest.mark.parametrize(
    ("liar", "reason"),
    [
        (says([1, 0]), r"sizes \[6\], over the budgets \[4\]"),
        (says([0, 1]), "item 1 of class 1, whose loss is inf"),
        (says([0, 2]), "leaves the range of items 0..1"),
        (says([-1, 0]), "leaves the range"),
        (says([0]), "2 whole numbers were due"),
        (says([0.0, 0.0]), "2 whole numbers were due"),
        (says(None), "returned no choice, with status optimal"),
        (says(None, status=Status.INFEASIBLE), "returned no choice, with status infeasible"),
        (says(None, status=Status.FAILED, reason="out of luck"), "out of luck"),
        (says([0, 0], multipliers=[-1.0]), "multipliers"),
        (says([0, 0], multipliers=[math.nan]), "multipliers"),
        (says([0, 0], multipliers=[1.0, 1.0]), "multipliers"),
    ],
)
def test_a_lying_solver_fails(liar: Says, reason: str) -> None:
    solution = solve(PROBLEM, liar)
    assert solution.status is Status.FAILED
    assert solution.choice.size == 0
    assert solution.loss == solution.gap == math.inf
    assert re.search(reason, solution.reason)


def test_totals_and_gap_are_recomputed_whatever_the_solver_claims() -> None:
    solution = solve(PROBLEM, says([0, 0], status=Status.FEASIBLE, multipliers=[0.5]))
    assert (solution.loss, solution.sizes.tolist()) == (5.0, [2])
    # Σ min(loss + size/2) − 4/2 = min(3.5, 3.5) + 2.5 − 2
    assert solution.lower_bound == pytest.approx(4.0)
    assert solution.gap == pytest.approx(0.2)
    assert solution.status is Status.FEASIBLE


def test_a_closed_bound_is_a_proof_whatever_the_solver_claims() -> None:
    problem = one_budget(np.array([[1.0, 2.0]]), np.array([[2, 1]]), 2)
    solution = solve(problem, says([0], status=Status.LIMIT))
    assert (solution.status, solution.stats.proof, solution.gap) == (Status.OPTIMAL, "bound", 0.0)


def test_gap_of_negative_and_zero_losses_is_honest() -> None:
    negative = one_budget(np.array([[-1.0, -3.0]]), np.array([[1, 5]]), 4)
    assert solve(negative, says([0], status=Status.FEASIBLE)).gap == pytest.approx(2.0)
    zero = one_budget(np.array([[0.0, -3.0]]), np.array([[1, 5]]), 4)
    assert solve(zero, says([0], status=Status.FEASIBLE)).gap == math.inf


def test_bound_does_not_drown_in_large_sizes() -> None:
    """λ·size is 1e12 times the losses here; reduced costs come from differences of sizes."""
    sizes = 10**15 + np.arange(4) + np.zeros((3, 1), dtype=np.int64)
    loss = np.array([[3.0, 2.0, 1.0, 0.0]] * 3)
    solution = solve(one_budget(loss, sizes, 3 * 10**15 + 4), Mckp())
    assert (solution.loss, solution.stats.lagrangian_bound, solution.multipliers.tolist()) == (5.0, 5.0, [1.0])


def test_more_budgets_than_a_solver_keeps_is_an_error_with_advice() -> None:
    three = Problem(np.zeros((1, 2)), np.ones((3, 1, 2), dtype=np.int64), np.array([3, 3, 3]))
    two = Problem(three.loss, three.sizes[:2], three.budgets[:2])
    for solver, problem in ((Mckp(), three), (HullGreedy(), two)):
        with pytest.raises(UnsupportedProblemError, match="budgets"):
            solve(problem, solver)
    assert solve(two, Mckp()).status is Status.OPTIMAL
    assert solve(two, BruteForce()).status is Status.OPTIMAL


def test_brute_force_keeps_several_budgets() -> None:
    loss, sizes = np.array([[5.0, 1.0], [4.0, 0.0]]), np.array([[[1, 2], [1, 2]], [[2, 1], [1, 3]]])
    assert solve(Problem(loss, sizes, np.array([4, 2])), BruteForce()).choice.tolist() == [1, 0]
    together = Problem(loss, np.array([[[1, 9], [1, 9]], [[9, 1], [9, 1]]]), np.array([2, 2]))
    solution = solve(together, BruteForce())
    assert solution.status is Status.INFEASIBLE
    assert "all budgets and rules together" in solution.reason


def test_brute_force_refuses_what_it_cannot_enumerate() -> None:
    with pytest.raises(UnsupportedProblemError, match="use Mckp"):
        solve(curves(40, 8, seed=0), BruteForce())


@pytest.mark.parametrize("seconds", [-1.0, math.nan])
def test_a_deadline_in_the_past_is_refused(seconds: float) -> None:
    with pytest.raises(SettingError, match="zero or more"):
        solve(PROBLEM, Mckp(), deadline=seconds)


def test_deadline_counts_down() -> None:
    assert Deadline.after(None).remaining() == math.inf
    assert not Deadline.after(None).passed()
    assert Deadline.after(0).passed()
    assert 0 < Deadline.after(60).remaining() <= 60


def test_every_status_advises() -> None:
    assert all(status.advice.endswith(".") for status in Status)


def test_stats_name_the_solver_and_results_are_read_only() -> None:
    solution = solve(PROBLEM, Mckp(max_states=7))
    assert isinstance(solution.stats, Stats)
    assert "max_states=7" in solution.stats.solver
    assert solution.stats.seconds > 0
    with pytest.raises(ValueError, match="read-only"):
        solution.choice[0] = 1


def test_a_huge_loss_of_a_poor_choice_does_not_blur_the_bound() -> None:
    """In loss − gap the optimum, 0.94, would drown in the rounding of 1e30."""
    problem = one_budget(np.array([[1e30, 0.94, 1.5], [0.0, 1e30, 1e30]]), np.array([[1, 2, 1], [2, 3, 3]]), 4)
    poor = solve(problem, says([0, 0], status=Status.FEASIBLE))
    assert poor.loss == 1e30
    assert poor.lower_bound == poor.stats.lagrangian_bound == 0.94


def test_infeasible_advises_about_rules_too() -> None:
    assert "rule" in Status.INFEASIBLE.advice
    assert "smallest_sizes" in Status.INFEASIBLE.advice
