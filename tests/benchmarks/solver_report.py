"""What every solver makes of the study's families, beside HiGHS and CP-SAT in the same run: ``make solver-report``.

CPU time of one thread, the best of a few warm runs. Every bound in it is recomputed with the one numpy line of the README. The
last line begins ``ok:`` or ``short:`` and holds the figures that the goals are about.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial

import numpy as np

from solvers import (
    AbstractSolver,
    BruteForce,
    ClosedForm,
    Components,
    Convex,
    Evolutionary,
    HullGreedy,
    Ilp,
    Interaction,
    Mckp,
    Problem,
    Solution,
    Status,
    Uniform,
    even_budgets,
    exact_frontier,
    frontier,
    solve,
    water_fill,
)
from solvers.baselines import AdjacentGreedy, LpRounding, OmpqLinear, Random, RatioRule, TwoFormats
from solvers.evolutionary import Allowance
from tests.benchmarks.goals import Goal, closing_line
from tests.benchmarks.references import cp_sat, cpu_milliseconds, highs
from tests.benchmarks.test_interaction_ratio import separable_loss
from tests.solvers.instances import BITS_OF_8, adversarial, curves, tiny_problem, tiny_two_budgets, two_budgets
from tests.solvers.instances import one_budget as one_budget_of
from tests.solvers.interaction.instances import dense_model, local_model
from tests.solvers.test_exact_frontier import BLOCK_OF_7B, STORED_BITS, model
from tests.solvers.test_hawq_programs import CASES, PROGRAMS, classes_of, whole

QUICK = "--quick" in sys.argv
MIDDLE = 0.4  # of the range of sizes: where the study measured
SHARES = (0.05, 0.2, MIDDLE, 0.6, 0.9)


@dataclass(slots=True)
class Report:
    """Goals so far, and the largest disagreement between a printed bound and its recomputation."""

    goals: list[Goal] = field(default_factory=list)
    disagreement: float = 0.0

    def goal(self, name: str, value: float, limit: float, unit: str = "", *, at_least: bool = False) -> None:
        self.goals.append(Goal(name, value, limit, unit, at_least))

    def checked(self, problem: Problem, solution: Solution) -> Solution:
        """Recompute the bound of an answer."""
        if solution.choice.size:
            priced = problem.loss + np.tensordot(solution.multipliers, problem.sizes, 1)
            bound = priced.min(axis=1).sum() - solution.multipliers @ problem.budgets
            difference = abs(bound - solution.stats.lagrangian_bound)
            scale = abs(solution.loss) + float(solution.multipliers @ problem.budgets)
            self.disagreement = max(self.disagreement, difference / scale if difference else 0.0)
        return solution

    def timed(self, problem: Problem, solver: AbstractSolver, repeats: int) -> tuple[float, Solution]:
        milliseconds, solution = cpu_milliseconds(partial(solve, problem, solver), repeats)
        return milliseconds, self.checked(problem, solution)


def say(*text: str) -> None:
    """A line, at once."""
    print(*text, flush=True)  # noqa: T201  (a report is printed)


def title(text: str) -> None:
    say(f"\n{text}\n{'─' * len(text)}")


ONE_BUDGET = {(224, 8): 3, (560, 24): 10, (2_000, 8): 25, (2_000, 24): 25, (44_544, 8): 75, (1_000_000, 8): 1_500}


def one_budget(report: Report) -> None:
    title("One budget, proven: Mckp at the study's budget and the worst of five; HiGHS (scipy) and CP-SAT on the whole model")
    say(f"{'N × K':>14} {'ms':>8} {'worst ms':>9} {'LP gap':>8} {'states':>9} {'HiGHS ms':>10} {'×':>6} {'CP-SAT':>10} {'×':>6}")
    for (classes, items), limit in ONE_BUDGET.items():
        huge = classes > 100_000
        taken, stats = {}, []
        for share in (MIDDLE,) if huge else SHARES:
            taken[share], solution = report.timed(curves(classes, items, seed=0, share=share), Mckp(), 1 if huge else 7)
            assert solution.status is Status.OPTIMAL
            stats.append((solution.stats.lagrangian_gap, solution.stats.states))
        gap, states = max(stats)
        references = _beside(report, classes) if classes <= 2_000 and items == 8 else ""
        say(f"{classes:>9,} × {items:<2} {taken[MIDDLE]:8.2f} {max(taken.values()):9.2f} {gap:8.0e} {states:9,} {references}")
        report.goal(f"{classes:,} × {items}", taken[MIDDLE], limit, " ms")
    milliseconds, solution = report.timed(curves(44_544, 8, seed=0, equal_sizes=True), Mckp(), 3)
    say(f"{'44,544 × 8':>14} {milliseconds:8.2f}  of equal sizes (experts), {solution.status}, gap {solution.gap:.0e}")


def _beside(report: Report, classes: int) -> str:
    """HiGHS and CP-SAT on the same problem, and how many times longer than ours they take."""
    problem = curves(classes, 8, seed=0, share=MIDDLE)
    milliseconds, solution = report.timed(problem, Mckp(), 5)
    text = ""
    for name, reference in (("HiGHS", highs(problem)), ("CP-SAT", cp_sat(problem, seconds=30))):
        ratio = reference.milliseconds / milliseconds
        assert solution.loss <= reference.loss * (1 + 1e-8)
        text += f"{reference.milliseconds:10.0f} {ratio:6.0f} "
        if classes == 2_000:
            report.goal(f"{name} ÷ Mckp at 2,000 × 8", ratio, 20, " ×", at_least=True)
    return text


def two_rows(report: Report) -> None:
    title("Two budgets (memory × latency), worst of a sweep")
    say(f"{'N × K':>14} {'median ms':>10} {'worst ms':>9} {'proven':>8} {'worst gap':>10} {'HiGHS ms':>10} {'×':>6}")
    for classes, limit in ((224, None), (560, None), (2_000, 150.0)):
        times, gaps, feasible = [], [], 0
        for seed in range(2 if QUICK else 3):
            for shares in ((0.2, 0.3), (0.3, 0.2), (0.4, 0.4), (0.5, 0.3), (0.3, 0.5), (0.7, 0.7), (0.4, 0.95)):
                problem = two_budgets(classes, 8, seed=seed, shares=shares)
                milliseconds, solution = report.timed(problem, Mckp(), 2)
                times.append(milliseconds)
                if solution.status is not Status.INFEASIBLE:
                    feasible += 1
                    gaps.append(solution.gap)
        problem = two_budgets(classes, 8, seed=0)
        reference = highs(problem, seconds=60)
        ours, _ = report.timed(problem, Mckp(), 3)
        closed = sum(gap == 0 for gap in gaps)
        say(
            f"{classes:>7,} × 8    {np.median(times):10.1f} {max(times):9.1f} {closed:>4}/{feasible:<3} {max(gaps):10.0e} "
            f"{reference.milliseconds:10.0f} {reference.milliseconds / ours:6.0f}"
        )
        if limit is not None:
            report.goal(f"two budgets {classes:,} × 8", max(times), limit, " ms")
            report.goal("two budgets not proven", feasible - closed, 0)
    problem = two_budgets(44_544, 8, seed=0)
    milliseconds, solution = report.timed(problem, Mckp(), 1)
    say(f"{'44,544 × 8':>14} {milliseconds:10.1f} ms, {solution.status}, gap {solution.gap:.1e}")


def frontiers(report: Report) -> None:
    title("Frontier: bounds and choices of 200 budgets from one pass; every budget exactly")
    for classes, repeats, limit in ((224, 100, 1.0), (2_000, 30, None), (44_544, 15, 20.0), (1_000_000, 2, None)):
        problem = curves(classes, 8, seed=0)
        budgets = even_budgets(problem, 200)
        milliseconds, found = cpu_milliseconds(partial(frontier, problem, budgets), repeats)
        gaps = found.gaps[np.isfinite(found.gaps)]
        say(f"{classes:>9,} × 8 {milliseconds:9.2f} ms, gap median {np.median(gaps):.0e}, largest {gaps.max():.0e}")
        if limit is not None:
            report.goal(f"frontier of 200, {classes:,} × 8", milliseconds, limit, " ms")
    for name, bits in (("7B", BITS_OF_8), ("7B with scales", STORED_BITS)):
        problem = model(BLOCK_OF_7B * 32, bits, seed=0)
        milliseconds, exact = cpu_milliseconds(partial(exact_frontier, problem), 3)
        say(f"{name:>16} {milliseconds:7.0f} ms, whole exact frontier of {exact.sizes.shape[0]:,} plans")
        report.goal(f"exact frontier of a {name}", milliseconds, 150, " ms")
        budgets = even_budgets(problem, 12)
        proved = [solve(Problem(problem.loss, problem.sizes, np.array([budget])), Mckp()).loss for budget in budgets]
        difference = np.abs(exact.loss_at(budgets) - proved) / np.abs(proved)
        report.goal(f"{name} against Mckp", float(difference.max()), 1e-12)


def hard_families(report: Report) -> None:
    title("Adversarial families: what is proven, what is left, and what the fallbacks close")
    say(f"{'family':>22} {'N':>6} {'Mckp':>9} {'gap':>8} {'ms':>8} {'Ilp':>9} {'gap':>8} {'ms':>8}")
    for family in ("proportional", "nearly_proportional", "fixed_charge"):
        for classes in (84, 560):
            problem = adversarial(family, classes, seed=0)
            ours, first = report.timed(problem, Mckp(), 1)
            theirs, second = report.timed(problem, Ilp(max_time=5.0), 1)
            say(
                f"{family:>22} {classes:>6} {first.status:>9} {first.gap:8.0e} {ours:8.0f} "
                f"{second.status:>9} {second.gap:8.0e} {theirs:8.0f}"
            )


def every_solver(report: Report) -> None:
    title("Every solver on the same problems: loss above the optimum, its own gap, CPU ms (median of 5 seeds)")
    solvers: dict[str, Callable[[], AbstractSolver]] = {
        "Uniform": Uniform,
        "Random": Random,
        "TwoFormats": TwoFormats,
        "RatioRule": RatioRule,
        "OmpqLinear": OmpqLinear,
        "AdjacentGreedy": AdjacentGreedy,
        "HullGreedy": HullGreedy,
        "LpRounding": LpRounding,
        "ClosedForm": ClosedForm,
        "Convex": Convex,
        "Evolutionary": lambda: Evolutionary(seeders=(Uniform(),), allowance=Allowance(evaluations=3_000)),
        "Ilp cp-sat": Ilp,
        "Ilp highs": lambda: Ilp(backend="highs"),
        "Mckp": Mckp,
    }
    sizes = (84, 224) if QUICK else (84, 224, 2_000)
    say(f"{'':>16}" + "".join(f"{f'{classes:,} × 8':>36}" for classes in sizes))
    for name, make in solvers.items():
        row = f"{name:>16}"
        for classes in sizes:
            excess, gaps, times = [], [], []
            for seed in range(5):
                problem = curves(classes, 8, seed=seed)
                optimum = solve(problem, Mckp()).loss
                milliseconds, solution = report.timed(problem, make(), 1)
                excess.append(solution.loss / optimum - 1)
                gaps.append(solution.gap)
                times.append(milliseconds)
            row += f"{np.median(excess):12.1e} {np.median(gaps):11.1e} {np.median(times):11.2f}"
        say(row)


def interactions(report: Report) -> None:
    title("Losses that classes share: the plan beside the separable one, its bound and CPU seconds")
    families: dict[str, Callable[[int], Problem]] = {
        "row": partial(local_model, kind="row"),
        "blocks": partial(local_model, kind="blocks"),
        "dense": dense_model,
    }
    for family, make in families.items():
        for classes in (84, 224):
            problem = make(classes)
            milliseconds, solution = cpu_milliseconds(partial(solve, problem, Interaction()))
            apart = separable_loss(problem) / solution.loss - 1
            say(
                f"{family:>10} {classes:>4} {solution.status} ({solution.stats.proof}), gap of the bound "
                f"{solution.stats.lagrangian_gap:.0e}, separable plan {apart:+.1%}, {milliseconds / 1e3:.2f} s"
            )
    report.goal("dense interactions, 224 classes", milliseconds / 1e3, 15, " s")


def published_programs(report: Report) -> None:
    title("HAWQ-V3's published integer programs, from scaled whole numbers")
    for name, solver in {"Mckp": Mckp(), "Ilp cp-sat": Ilp(), "Ilp highs": Ilp(backend="highs")}.items():
        solved = sum(_reaches(report, case, solver) for case in CASES)
        say(f"{name:>16} {solved}/{len(CASES)} to their optimum")
        report.goal(f"HAWQ's programs by {name}", solved, len(CASES), at_least=True)


def _reaches(report: Report, case: dict[str, object], solver: AbstractSolver) -> bool:
    loss, sizes, _ = classes_of(PROGRAMS["models"][case["model"]], str(case["resource"]))
    assert isinstance(case["budget"], Decimal)
    problem = one_budget_of(loss, sizes, whole(case["budget"]))
    solution = report.checked(problem, solve(problem, solver))
    return solution.status is Status.OPTIMAL and abs(solution.loss - float(str(case["optimal_loss"]))) < 1e-9


def against_brute_force(report: Report) -> None:
    title("Random instances against brute force")
    for rows, problems in {"one budget": _tiny(1), "two budgets": _tiny(2)}.items():
        count = mismatches = 0
        for problem in problems:
            ours, judge = report.checked(problem, solve(problem, Mckp())), solve(problem, BruteForce())
            scale = float(np.where(problem.allowed(), np.abs(problem.loss), 0).sum())
            same = ours.status is judge.status and (
                judge.status is Status.INFEASIBLE or abs(ours.loss - judge.loss) <= 1e-12 * scale
            )
            count, mismatches = count + 1, mismatches + (not same)
        say(f"{rows:>16} {count:,} instances, {mismatches} mismatches")
        report.goal(f"mismatches, {rows}", mismatches, 0)


def _tiny(rows: int) -> Iterator[Problem]:
    for seed in range(70):
        for losses in ("uniform", "ties", "signed", "tiny", "wide"):
            for sizes in ("small", "bits", "past_2_53"):
                forbid = seed % 2 == 0
                if rows == 1:
                    yield tiny_problem(seed, losses=losses, sizes=sizes, forbid=forbid)
                else:
                    yield tiny_two_budgets(seed, losses=losses, sizes=(sizes, "small"), forbid=forbid)


def closed_form(report: Report) -> None:
    title("Water-filling")
    worst = 0.0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(1, 300))
        c, n = np.exp(rng.normal(0, 8, count)), np.exp(rng.uniform(0, 15, count))
        components = Components.of(c, weights=n, beta=np.exp(rng.uniform(0.5, 2.0, count)), high=8.0)
        worst = max(worst, water_fill(components, float(rng.uniform(0, n.sum() * 8))).kkt)
    golden = water_fill(Components.of([1.0, 4.0, 16.0, 256.0]), 8.0)
    say(f"KKT residual of 200 random problems: {worst:.1e}; golden bits {golden.bits.tolist()}, loss {golden.loss:.5f}")
    report.goal("KKT residual", worst, 1e-12)
    report.goal("golden water-filling, error", float(np.abs(golden.bits - [0.25, 1.25, 2.25, 4.25]).max()), 1e-12)


SECTIONS = (
    frontiers,
    one_budget,
    two_rows,
    hard_families,
    every_solver,
    interactions,
    published_programs,
    against_brute_force,
    closed_form,
)


def main() -> None:
    report = Report()
    for section in SECTIONS:
        section(report)
    report.goal("bounds recomputed, largest relative difference", report.disagreement, 1e-12)
    say()
    say(closing_line(report.goals))


if __name__ == "__main__":
    main()
