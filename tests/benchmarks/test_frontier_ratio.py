"""CPU time of frontiers beside one bare pass over the numbers and beside separate solves; only ratios are asserted."""

import numpy as np
import pytest

from solvers import Mckp, Problem, Status, solve
from solvers.frontiers import breakpoints, even_budgets, exact_frontier, frontier
from tests.benchmarks.references import cpu_milliseconds
from tests.solvers.instances import BITS_OF_8, curves
from tests.solvers.test_exact_frontier import BLOCK_OF_7B, STORED_BITS, model

pytestmark = pytest.mark.benchmark

BLOCK_OF_70B = [8192 * 8192] * 2 + [8192 * 1024] * 2 + [8192 * 28672] * 3  # q, o; k, v; gate, up, down
BUDGETS = 200


def milliseconds_of_solves(problem: Problem, budgets: list[int]) -> tuple[float, list[float]]:
    """CPU time of one solve for each budget, and the optima; making the problems is not counted."""
    taken, losses = 0.0, []
    for budget in budgets:
        one = Problem(problem.loss, problem.sizes, np.array([budget]))
        spent, solution = cpu_milliseconds(lambda one=one: solve(one, Mckp()), 1)  # type: ignore[misc]
        assert solution.status is Status.OPTIMAL
        taken += spent
        losses.append(solution.loss)
    return taken, losses


def bare_pass(problem: Problem) -> float:
    """One ``argmin`` of loss + λ·size over all items."""
    loss, size = problem.loss.T, problem.sizes[0].T
    price = float(loss.max() / size.max())
    return cpu_milliseconds(lambda: np.argmin(loss + price * size, axis=0), 7)[0]


def test_two_hundred_budgets_beside_a_pass_and_separate_solves(capfd: pytest.CaptureFixture[str]) -> None:
    table = [
        f"{'N x K':>12} {'corners':>9} {'ms':>8} {'passes':>8} {'gap median':>11} {'max':>8} {'200 solves ms':>14} {'ratio':>7}"
    ]
    ratios = {}
    for classes, items, repeats, solved in ((224, 8, 50, 200), (2_000, 8, 20, 200), (44_544, 8, 15, 5), (1_000_000, 8, 2, 0)):
        problem = curves(classes, items, seed=0)
        budgets = even_budgets(problem, BUDGETS)
        taken, found = cpu_milliseconds(lambda problem=problem, budgets=budgets: frontier(problem, budgets), repeats)  # type: ignore[misc]
        passes = taken / bare_pass(problem)
        corners = breakpoints(problem).sizes.shape[0]
        row = f"{f'{classes} x {items}':>12} {corners:9d} {taken:8.2f} {passes:8.1f}"
        row += f" {np.median(found.gaps):11.1e} {found.gaps.max():8.1e}"
        if solved:
            some = np.linspace(0, BUDGETS - 1, solved).astype(int)
            separate, losses = milliseconds_of_solves(problem, budgets[some].tolist())
            assert (found.losses[some] >= np.array(losses) * (1 - 1e-12)).all()
            ratios[classes] = separate / solved * BUDGETS / taken
            row += f" {separate / solved * BUDGETS:14.0f} {ratios[classes]:7.0f}"
        table.append(row)
    with capfd.disabled():
        print("\n" + "\n".join(table))  # noqa: T201  (the table is what a benchmark is for)
    assert ratios[224] >= 50
    assert ratios[2_000] >= 50


def test_whole_exact_frontier_beside_twenty_solves(capfd: pytest.CaptureFixture[str]) -> None:
    table = [f"{'shapes':>16} {'N':>5} {'units':>8} {'points':>8} {'ms':>8} {'20 solves ms':>13} {'ratio':>7}"]
    ratios = {}
    for name, weights, bits in (
        ("7B", BLOCK_OF_7B * 32, BITS_OF_8),
        ("7B with scales", BLOCK_OF_7B * 32, STORED_BITS),
        ("70B", BLOCK_OF_70B * 80, BITS_OF_8),
    ):
        problem = model(weights, bits, seed=0)
        taken, found = cpu_milliseconds(lambda problem=problem: exact_frontier(problem), 5)  # type: ignore[misc]
        budgets = even_budgets(problem, 20)
        separate, losses = milliseconds_of_solves(problem, budgets.tolist())
        assert found.loss_at(budgets) == pytest.approx(losses, rel=1e-12)
        ratios[name] = separate / taken
        units = int(found.sizes[-1] - found.sizes[0]) // found.unit
        points = found.sizes.shape[0]
        table.append(f"{name:>16} {len(weights):5d} {units:8d} {points:8d} {taken:8.1f} {separate:13.1f} {ratios[name]:7.1f}")
    with capfd.disabled():
        print("\n" + "\n".join(table))  # noqa: T201  (the table is what a benchmark is for)
    assert ratios["7B"] >= 0.5
