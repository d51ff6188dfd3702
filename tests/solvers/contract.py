"""What every solver must keep, with brute force as the judge. Subclass the part that fits and name the solver.

``SolverContract`` is for one budget, ``TwoBudgetContract`` adds two.
"""

from dataclasses import replace

import numpy as np
import pytest

from solvers import AbstractSolver, BruteForce, Problem, Solution, Status, solve
from tests.solvers.instances import LOSSES, SIZES, one_budget, tiny_problem, tiny_two_budgets

SEEDS = range(12)


def recomputed_bound(problem: Problem, solution: Solution) -> float:
    """The one line with which anybody checks a bound."""
    weighted = problem.loss + np.tensordot(solution.multipliers, problem.sizes.astype(float), axes=1)
    return float(weighted.min(axis=1).sum() - solution.multipliers @ problem.budgets)


def scale_of(problem: Problem) -> float:
    finite = np.where(problem.allowed(), np.abs(problem.loss), 0.0)
    return float(finite.sum()) + np.finfo(float).tiny


class SolverContract:
    """Attributes say which parts of the contract apply."""

    solver: AbstractSolver
    exact: bool
    always_answers = True

    @pytest.fixture(params=SEEDS)
    def problem(self, request: pytest.FixtureRequest) -> Problem:
        problem = tiny_problem(request.param, losses="signed", sizes="bits", forbid=request.param % 2 == 1)
        return problem if request.param % 5 else replace_budget(problem, int(problem.smallest_sizes()[0]))

    def solved(self, problem: Problem) -> Solution:
        solution = solve(problem, self.solver)
        if self.always_answers:
            assert solution.status is not Status.FAILED, solution.reason
        return solution

    def test_keeps_the_budget_and_reports_exact_totals(self, problem: Problem) -> None:
        solution = self.solved(problem)
        if solution.choice.size == 0:
            assert solution.status in (Status.INFEASIBLE, Status.FAILED)
            return
        rows = np.arange(problem.classes)
        total = sum(int(size) for size in problem.sizes[0, rows, solution.choice])
        assert [total] == solution.sizes.tolist()
        assert total <= problem.budgets[0]
        assert solution.loss == pytest.approx(sum(problem.loss[rows, solution.choice].tolist()), rel=1e-12)

    def test_is_no_better_than_brute_force_and_no_worse_than_its_gap(self, problem: Problem) -> None:
        solution, judge = self.solved(problem), solve(problem, BruteForce())
        if solution.choice.size == 0:
            return
        tolerance = 1e-12 * scale_of(problem)
        assert solution.lower_bound - tolerance <= judge.loss <= solution.loss + tolerance
        if self.exact:
            assert solution.status is Status.OPTIMAL
            assert solution.loss == pytest.approx(judge.loss, abs=tolerance)
            assert solution.gap == 0

    def test_bound_can_be_recomputed_from_the_multipliers(self, problem: Problem) -> None:
        solution = self.solved(problem)
        if solution.choice.size:
            expected = pytest.approx(recomputed_bound(problem, solution), abs=1e-9 * scale_of(problem))
            assert solution.stats.lagrangian_bound == expected
            assert solution.stats.lagrangian_bound <= solution.loss

    def test_repeats_itself(self, problem: Problem) -> None:
        first, second = solve(problem, self.solver), solve(problem, self.solver)
        assert first.choice.tolist() == second.choice.tolist()
        assert first.multipliers.tolist() == second.multipliers.tolist()
        assert replace(first.stats, seconds=0.0) == replace(second.stats, seconds=0.0)

    def test_order_of_classes_and_items_changes_no_loss(self, problem: Problem) -> None:
        rng = np.random.default_rng(7)
        classes, items = rng.permutation(problem.classes), rng.permutation(problem.items)
        shuffled = Problem(problem.loss[classes][:, items], problem.sizes[:, classes][:, :, items], problem.budgets)
        first, second = self.solved(problem), self.solved(shuffled)
        assert first.status is second.status
        assert first.loss == pytest.approx(second.loss, abs=1e-12 * scale_of(problem))

    def test_a_greater_budget_is_no_worse_where_exact(self, problem: Problem) -> None:
        if not self.exact:
            return
        budget = int(problem.budgets[0])
        losses = [self.solved(replace_budget(problem, budget + step * 10**11)).loss for step in range(4)]
        assert losses == sorted(losses, reverse=True)

    def test_dominated_items_change_nothing(self, problem: Problem) -> None:
        worse = np.where(problem.allowed(), problem.loss + 0.5, np.inf)
        loss, sizes = np.concatenate((worse, problem.loss), axis=1), np.concatenate((problem.sizes + 1, problem.sizes), axis=2)
        more = Problem(loss, sizes, problem.budgets)
        with_worse, without = self.solved(more), self.solved(problem)
        assert with_worse.status is without.status
        assert with_worse.loss == pytest.approx(without.loss, abs=1e-12 * scale_of(problem))

    def test_forbidden_items_are_never_chosen(self) -> None:
        loss = np.array([[np.inf, 5.0, 3.0], [1.0, np.inf, 0.0], [2.0, 1.0, np.inf]])
        sizes = np.array([[0, 2, 3], [2, 0, 3], [2, 3, 0]])
        for budget in range(6, 10):
            solution = self.solved(one_budget(loss, sizes, budget))
            if solution.choice.size:
                assert np.isfinite(loss[np.arange(3), solution.choice]).all()

    def test_infeasible_says_the_smallest_feasible_budget(self) -> None:
        loss, sizes = np.array([[1.0, np.inf], [1.0, 2.0]]), np.array([[5, 1], [4, 3]])
        solution = solve(one_budget(loss, sizes, 7), self.solver)
        assert solution.status is Status.INFEASIBLE
        assert solution.smallest_sizes.tolist() == [8]
        assert solution.choice.size == 0
        assert "8" in solution.reason
        assert "smallest_sizes" in solution.status.advice
        feasible = solve(one_budget(loss, sizes, 8), self.solver)
        assert feasible.status is not Status.INFEASIBLE

    def test_no_classes_is_solved(self) -> None:
        solution = solve(Problem(np.empty((0, 3)), np.empty((1, 0, 3), dtype=np.int64), np.array([0])), self.solver)
        assert (solution.status, solution.loss, solution.gap, solution.choice.tolist()) == (Status.OPTIMAL, 0.0, 0.0, [])

    def test_the_smallest_budget_leaves_the_smallest_items(self) -> None:
        problem = one_budget(np.array([[1.0, 0.0], [3.0, 1.0]]), np.array([[1, 2], [1, 2]]), 2)
        assert self.solved(problem).choice.tolist() == [0, 0]

    def test_a_budget_that_binds_nothing_leaves_the_least_losses(self) -> None:
        problem = one_budget(np.array([[1.0, 0.0], [3.0, 1.0]]), np.array([[1, 2], [1, 2]]), 2**62)
        solution = self.solved(problem)
        assert (solution.status, solution.choice.tolist(), solution.multipliers.tolist()) == (Status.OPTIMAL, [1, 1], [0.0])

    @pytest.mark.parametrize("sizes", SIZES)
    @pytest.mark.parametrize("losses", LOSSES)
    def test_every_kind_of_number(self, losses: str, sizes: str) -> None:
        for seed in range(4):
            problem = tiny_problem(1000 + seed, losses=losses, sizes=sizes, forbid=seed % 2 == 0)
            solution = self.solved(problem)
            if solution.choice.size:
                assert solution.gap >= 0
                assert solution.lower_bound <= solution.loss


class TwoBudgetContract(SolverContract):
    """One budget and two."""

    @pytest.fixture(params=SEEDS)
    def two(self, request: pytest.FixtureRequest) -> Problem:
        """Loose, tight and exactly reached budgets in turn; about one in six cannot be kept together."""
        seed = request.param
        return tiny_two_budgets(100 + seed, losses="signed", sizes=("bits", "small"), forbid=seed % 2 == 1)

    def test_two_budgets_are_kept_and_their_totals_exact(self, two: Problem) -> None:
        solution = self.solved(two)
        if solution.choice.size == 0:
            assert solution.status in (Status.INFEASIBLE, Status.FAILED)
            return
        totals = [sum(int(size) for size in row[np.arange(two.classes), solution.choice]) for row in two.sizes]
        assert totals == solution.sizes.tolist()
        assert all(total <= budget for total, budget in zip(totals, two.budgets, strict=True))

    def test_two_budgets_are_judged_by_brute_force(self, two: Problem) -> None:
        solution, judge = self.solved(two), solve(two, BruteForce())
        if self.exact:
            assert solution.status is judge.status
        if solution.choice.size == 0:
            return
        tolerance = 1e-12 * scale_of(two)
        assert solution.lower_bound - tolerance <= judge.loss <= solution.loss + tolerance
        if self.exact:
            assert solution.loss == pytest.approx(judge.loss, abs=tolerance)

    def test_the_bound_under_two_budgets_can_be_recomputed(self, two: Problem) -> None:
        solution = self.solved(two)
        if solution.choice.size:
            assert solution.multipliers.shape == (2,)
            assert solution.stats.lagrangian_bound == pytest.approx(recomputed_bound(two, solution), abs=1e-9 * scale_of(two))

    def test_repeats_itself_under_two_budgets(self, two: Problem) -> None:
        first, second = solve(two, self.solver), solve(two, self.solver)
        assert first.choice.tolist() == second.choice.tolist()
        assert replace(first.stats, seconds=0.0) == replace(second.stats, seconds=0.0)

    def test_order_of_rows_classes_and_items_changes_no_loss(self, two: Problem) -> None:
        rng = np.random.default_rng(7)
        classes, items = rng.permutation(two.classes), rng.permutation(two.items)
        turned = Problem(two.loss[classes][:, items], two.sizes[::-1, classes][:, :, items], two.budgets[::-1])
        first, second = self.solved(two), self.solved(turned)
        assert first.status is second.status
        assert first.loss == pytest.approx(second.loss, abs=1e-12 * scale_of(two))

    def test_budgets_that_exclude_each_other_are_infeasible_with_a_reason(self) -> None:
        problem = Problem(np.zeros((2, 2)), np.array([[[1, 9], [1, 9]], [[9, 1], [9, 1]]]), np.array([9, 9]))
        solution = solve(problem, self.solver)
        assert solution.choice.size == 0
        if self.exact:
            assert solution.status is Status.INFEASIBLE
            assert "together" in solution.reason


def replace_budget(problem: Problem, budget: int) -> Problem:
    return Problem(problem.loss, problem.sizes, np.array([budget]))
