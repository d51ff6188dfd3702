"""CPU time of the default solver beside HiGHS and CP-SAT on the whole model, in one run; only the ratio is asserted."""

import pytest

from solvers import Mckp, Problem, Solution, Status, solve
from tests.benchmarks.references import Reference, cp_sat, cpu_milliseconds, highs
from tests.solvers.instances import curves, two_budgets

pytestmark = pytest.mark.benchmark

TWO = (0.2, 0.15)  # shares at which both budgets bind
COLUMNS = (("N x K", 12), ("Mckp ms", 10), ("core", 8), ("states", 8), ("LP gap", 10))
REFERENCES = (("HiGHS ms", 10), ("ratio", 8), ("CP-SAT ms", 10), ("ratio", 8))
TITLE = " ".join(f"{name:>{width}}" for name, width in COLUMNS + REFERENCES)


def ours(problem: Problem, repeats: int) -> tuple[float, Solution]:
    taken, solution = cpu_milliseconds(lambda: solve(problem, Mckp()), repeats)
    assert solution.status in (Status.OPTIMAL, Status.LIMIT)
    return taken, solution


def line(problem: Problem, solution: Solution, taken: float, rest: str) -> str:
    stats = solution.stats
    name = f"{problem.classes} x {problem.items}"
    return f"{name:>12} {taken:10.2f} {stats.core_items:8d} {stats.states:8d} {stats.lagrangian_gap:10.1e} {rest}"


def beside(reference: Reference, taken: float) -> str:
    """Its time and how many times ours that is; ``?`` where it proved nothing within its limit."""
    doubt = "" if reference.proven else "?"
    return f"{reference.milliseconds:10.1f} {f'{reference.milliseconds / taken:.0f}{doubt}':>8}"


def compared(problem: Problem) -> tuple[str, float]:
    """A row of the table and the ratio to HiGHS."""
    taken, solution = ours(problem, 7)
    assert solution.status is Status.OPTIMAL
    general, constraint = highs(problem), cp_sat(problem, seconds=30)
    assert general.proven
    assert solution.loss == pytest.approx(general.loss, rel=1e-8)
    assert constraint.loss >= solution.loss * (1 - 1e-9)
    row = line(problem, solution, taken, f"{beside(general, taken)} {beside(constraint, taken)}")
    return row, general.milliseconds / taken


def test_proved_optimum_beside_highs_and_cp_sat(capfd: pytest.CaptureFixture[str]) -> None:
    table, ratios = [TITLE], {}
    for classes, items in ((224, 8), (560, 24), (2_000, 8)):
        row, ratios[classes, items] = compared(curves(classes, items, seed=0))
        table.append(row)
    for classes, items, equal_sizes in ((2_000, 24, False), (44_544, 8, False), (44_544, 8, True), (1_000_000, 8, False)):
        problem = curves(classes, items, seed=0, equal_sizes=equal_sizes)
        taken, solution = ours(problem, 3 if classes < 100_000 else 1)
        assert solution.status is Status.OPTIMAL
        table.append(line(problem, solution, taken, "equal sizes" if equal_sizes else ""))
    table.append("two budgets")
    for classes in (84, 560):
        table.append(compared(two_budgets(classes, 8, seed=0, shares=TWO))[0])
    for classes, equal_sizes in ((2_000, False), (44_544, False), (44_544, True)):
        problem = two_budgets(classes, 8, seed=0, shares=TWO, equal_sizes=equal_sizes)
        taken, solution = ours(problem, 3)
        rest = f"{solution.status}, gap {solution.gap:.0e}{', equal sizes' if equal_sizes else ''}"
        table.append(line(problem, solution, taken, rest))
    with capfd.disabled():
        print("\n" + "\n".join(table))  # noqa: T201  (the table is what a benchmark is for)
    assert ratios[2_000, 8] >= 20
