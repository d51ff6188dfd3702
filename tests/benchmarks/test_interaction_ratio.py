"""Losses that classes share: the plan, its bound and its CPU time, beside the plan that does not look at them."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from solvers import Mckp, Problem, Solution, Status, solve
from solvers.interaction import Gram, Interaction
from tests.solvers.interaction.instances import dense_model, local_model

pytestmark = pytest.mark.benchmark


def separable_loss(problem: Problem) -> float:
    """Of the exact knapsack on what each class loses alone."""
    interaction = problem.interaction
    assert interaction is not None
    alone = interaction.squares() if isinstance(interaction, Gram) and interaction.diagonal else 0.0
    choice = solve(Problem(problem.loss + alone, problem.sizes, problem.budgets), Mckp()).choice
    return float(problem.loss[np.arange(problem.classes), choice].sum() + interaction.values(choice[None])[0])


def measured(problem: Problem, repeats: int) -> tuple[float, Solution]:
    """The best CPU time of some runs, and the answer."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        solution = solve(problem, Interaction())
        times.append(time.process_time() - started)
    return min(times), solution


def test_plans_beside_the_separable_ones(capfd: pytest.CaptureFixture[str]) -> None:
    families: dict[str, tuple[Callable[[int], Problem], tuple[int, ...], int]] = {
        "row": (lambda classes: local_model(classes, "row"), (84, 224, 2_000), 3),
        "blocks": (lambda classes: local_model(classes, "blocks"), (84, 224), 1),
        "dense": (dense_model, (84, 224), 1),
        "dense, 8 items": (lambda classes: dense_model(classes, items=8), (2_000,), 1),
    }
    head = ("family", "N", "plan", "bound", "its gap", "separable", "above", "CPU s", "status")
    table = ["{:>15} {:>6} {:>11} {:>11} {:>8} {:>11} {:>7} {:>7}  {}".format(*head)]
    statuses = {}
    for family, (make, counts, repeats) in families.items():
        for classes in counts:
            problem = make(classes)
            taken, solution = measured(problem, repeats)
            apart, stats = separable_loss(problem), solution.stats
            statuses[family, classes] = solution.status
            table.append(
                f"{family:>15} {classes:6d} {solution.loss:11.6g} {stats.lagrangian_bound:11.6g} {stats.lagrangian_gap:8.1e} "
                f"{apart:11.6g} {apart / solution.loss - 1:7.1%} {taken:7.2f}  {solution.status} {stats.proof}"
            )
            assert apart >= solution.loss * (1 - 1e-12)
            assert stats.lagrangian_gap < 0.01
    with capfd.disabled():
        print("\n" + "\n".join(table))  # noqa: T201  (the table is what a benchmark is for)
    assert all(status is Status.OPTIMAL for (_, classes), status in statuses.items() if classes <= 224)
