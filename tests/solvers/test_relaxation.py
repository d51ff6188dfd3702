"""Side rules and interactions as the driver sees them: kept, priced and recomputed."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from solvers import (
    AbstractSolver,
    Answer,
    BruteForce,
    Deadline,
    Mckp,
    Problem,
    ProblemError,
    Status,
    UnsupportedProblemError,
    solve,
)
from solvers.arrays import Floats, Integers
from solvers.interactions import AbstractInteraction, Minorant
from solvers.side_rules import AbstractSideRule, LinearRow


@dataclass(frozen=True)
class AtMostOnce(AbstractSideRule):
    """An item that one class may take at most."""

    item: int

    def check(self, classes: int, items: int) -> None:
        if not 0 <= self.item < items:
            raise ProblemError(f"there is no item {self.item}")

    def broken_by(self, choice: Integers) -> str | None:
        count = int((choice == self.item).sum())
        return f"item {self.item} is taken {count} times" if count > 1 else None

    def rows(self, classes: int, items: int) -> list[LinearRow]:
        coefficients = np.zeros((classes, items), dtype=np.int64)
        coefficients[:, self.item] = 1
        return [LinearRow(coefficients, 1)]


@dataclass(frozen=True)
class Square(AbstractInteraction):
    """The square of a sum: convex, so its tangent at any total lies below."""

    factor: Floats

    def check(self, classes: int, items: int) -> None:
        if self.factor.shape != (classes, items):
            raise ProblemError("another shape")

    def values(self, choices: Integers) -> Floats:
        squares: Floats = self.factor[np.arange(choices.shape[1]), choices].sum(axis=1) ** 2
        return squares

    def minorant(self, certificate: Floats | None) -> Minorant:
        at = 0.0 if certificate is None else float(certificate.reshape(()))
        return Minorant(2 * at * self.factor, -at * at)


@dataclass(frozen=True)
class Says(AbstractSolver):
    takes_rules: ClassVar[bool] = True
    takes_interaction: ClassVar[bool] = True

    answer: Answer

    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        return self.answer


LOSS = np.array([[4.0, 1.0, 0.0], [3.0, 1.0, 0.5], [5.0, 2.0, 0.0]])
SIZES = np.array([[[1, 2, 3]] * 3])
FACTOR = np.array([[1.0, 0.5, 0.0], [-1.0, -0.25, 0.0], [2.0, 1.0, 0.5]])
CHOICES = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)


def feasible_losses(problem: Problem) -> list[float]:
    sizes = problem.sizes[0][np.arange(3), CHOICES].sum(axis=1)
    losses = problem.loss[np.arange(3), CHOICES].sum(axis=1)
    if problem.interaction is not None:
        losses = losses + problem.interaction.values(CHOICES)
    kept = [all(rule.broken_by(choice) is None for rule in problem.rules) for choice in CHOICES]
    return sorted(losses[(sizes <= problem.budgets[0]) & kept].tolist())


@pytest.mark.parametrize("rules", [(), (AtMostOnce(1),), (AtMostOnce(1), AtMostOnce(2))])
@pytest.mark.parametrize("interaction", [None, Square(FACTOR)])
@pytest.mark.parametrize("budget", [3, 6, 7, 9])
def test_brute_force_judges_rules_and_interactions(
    rules: tuple[AbstractSideRule, ...], interaction: Square | None, budget: int
) -> None:
    problem = Problem(LOSS, SIZES, np.array([budget]), rules, interaction)
    solution = solve(problem, BruteForce())
    assert solution.status is Status.OPTIMAL
    assert solution.loss == pytest.approx(feasible_losses(problem)[0])


def test_a_broken_rule_is_no_answer() -> None:
    problem = Problem(LOSS, SIZES, np.array([9]), (AtMostOnce(2),))
    solution = solve(problem, Says(Answer(Status.OPTIMAL, np.array([2, 2, 0]))))
    assert (solution.status, solution.reason) == (Status.FAILED, "item 2 is taken 2 times")


def test_rules_no_choice_keeps_are_infeasible() -> None:
    problem = Problem(LOSS[:, :1], SIZES[:, :, :1], np.array([9]), (AtMostOnce(0),))
    solution = solve(problem, BruteForce())
    assert solution.status is Status.INFEASIBLE
    assert "rules" in solution.reason


@pytest.mark.parametrize("rule_multipliers", [None, [0.0], [0.7], [5.0]])
@pytest.mark.parametrize("certificate", [None, 0.5, 3.0])
@pytest.mark.parametrize("price", [0.0, 1.3])
def test_every_certificate_gives_a_bound_that_can_be_recomputed(
    rule_multipliers: list[float] | None, certificate: float | None, price: float
) -> None:
    problem = Problem(LOSS, SIZES, np.array([7]), (AtMostOnce(1),), Square(FACTOR))
    prices = None if rule_multipliers is None else np.array(rule_multipliers)
    at = None if certificate is None else np.array(certificate)
    answer = Answer(Status.LIMIT, np.array([2, 0, 1]), np.array([price]), rule_multipliers=prices, certificate=at)
    solution = solve(problem, Says(answer))
    mu, y = solution.rule_multipliers[0], 0.0 if at is None else float(at)
    priced = LOSS + 2 * y * FACTOR + mu * np.array([0, 1, 0]) + price * SIZES[0]
    expected = priced.min(axis=1).sum() - y * y - mu - price * 7
    assert solution.lower_bound == pytest.approx(expected, abs=1e-12)
    assert solution.lower_bound <= feasible_losses(problem)[0] + 1e-12
    assert solution.loss == pytest.approx(5.0 + (0.0 - 1.0 + 1.0) ** 2)


def test_prices_of_rules_and_certificates_are_checked() -> None:
    problem = Problem(LOSS, SIZES, np.array([7]), (AtMostOnce(1),), Square(FACTOR))
    choice = np.array([2, 0, 1])
    for wrong in ([-1.0], [np.nan], [1.0, 1.0]):
        solution = solve(problem, Says(Answer(Status.LIMIT, choice, rule_multipliers=np.array(wrong))))
        assert solution.status is Status.FAILED
        assert "linear row" in solution.reason
    solution = solve(problem, Says(Answer(Status.LIMIT, choice, certificate=np.zeros(2))))
    assert solution.status is Status.FAILED
    assert "certificate" in solution.reason


def test_solvers_refuse_what_they_would_not_look_at() -> None:
    ruled, coupled = (
        Problem(LOSS, SIZES, np.array([7]), (AtMostOnce(1),)),
        Problem(LOSS, SIZES, np.array([7]), (), Square(FACTOR)),
    )
    with pytest.raises(UnsupportedProblemError, match=r"side rules.*Ilp"):
        solve(ruled, Mckp())
    with pytest.raises(UnsupportedProblemError, match=r"interaction.*Interaction"):
        solve(coupled, Mckp())


def test_rules_and_interactions_fit_the_problem() -> None:
    with pytest.raises(ProblemError, match="no item 3"):
        Problem(LOSS, SIZES, np.array([7]), (AtMostOnce(3),))
    with pytest.raises(ProblemError, match="another shape"):
        Problem(LOSS, SIZES, np.array([7]), (), Square(FACTOR[:2]))
