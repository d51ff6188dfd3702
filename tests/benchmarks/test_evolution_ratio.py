"""How near the evolution comes to the proved optimum from a uniform plan, beside strict one-up-one-down switches."""

import time

import numpy as np
import pytest

from solvers import Mckp, Problem, Uniform, solve
from solvers.arrays import Floats, Integers
from solvers.evolutionary import Allowance, Evolutionary, Sample, Schedule
from solvers.problem import total_sizes
from tests.solvers.instances import curves

pytestmark = pytest.mark.benchmark

EVALUATIONS = (3_000, 10_000, 30_000)
OFFSPRING = 8
SEEDS = (0, 1)


def strict(problem: Problem, evaluations: int, seed: int) -> list[float]:
    """The study's move: one class a level up, another a level down, k = min(U{1..3}, U{1..3}) times, kept if it fits.

    Returns the loss after each of the ``EVALUATIONS``.
    """
    rng, rows = np.random.default_rng(seed), np.arange(problem.classes)
    parent = solve(problem, Uniform()).choice.copy()
    best, made = float(problem.loss[rows, parent].sum()), 0
    losses: list[float] = []
    while made < evaluations:
        offspring = []
        for _ in range(OFFSPRING):
            child = parent.copy()
            for _ in range(int(rng.integers(1, 4, 2).min())):
                up, down = rng.integers(0, problem.classes, 2)
                if child[up] < problem.items - 1 and child[down] > 0:
                    child[up] += 1
                    child[down] -= 1
            offspring.append(child if (total_sizes(problem, child) <= problem.budgets).all() else parent)
        values = problem.loss[rows, np.array(offspring)].sum(axis=1)
        made += OFFSPRING
        if values.min() <= best:
            parent, best = offspring[int(values.argmin())], float(values.min())
        losses += [best] * (len(losses) < len(EVALUATIONS) and made >= EVALUATIONS[len(losses)])
    return losses


def ours(table: Problem, truth: Problem, evaluations: int, seed: int) -> list[float]:
    """Fitness from ``truth``, guidance from ``table``, no exact seed."""
    rows = np.arange(truth.classes)
    start = tuple(solve(truth, Uniform()).choice.tolist())

    def fitness(choices: Integers, sample: Sample) -> Floats:
        values: Floats = truth.loss[rows, choices].sum(axis=1)
        return values

    schedule = Schedule(offspring=OFFSPRING, seed=seed)
    search = Evolutionary(fitness, schedule, Allowance(10**6, evaluations), seeders=(), plans=(start,))
    history = search.search(table).history
    return [[made.best for made in history if made.evaluations <= most][-1] for most in EVALUATIONS]


def guesses(truth: Problem, seed: int) -> dict[str, Problem]:
    """Tables that guide: the truth, one that is off by a factor of e^±0.5, and one that says nothing."""
    off = np.exp(np.random.default_rng(seed).normal(0, 0.5, truth.loss.shape))
    tables = {"table": truth.loss, "off": truth.loss * off, "none": np.zeros_like(truth.loss)}
    return {name: Problem(loss, truth.sizes, truth.budgets) for name, loss in tables.items()}


def test_excess_over_the_optimum_from_uniform(capfd: pytest.CaptureFixture[str]) -> None:
    head = "  ".join(f"{count:>9,}" for count in EVALUATIONS)
    lines = [f"{'N x K':>9} {'sizes':>8} {'guided by':>10}  {head}   excess over the optimum (mean of {len(SEEDS)})"]
    started, reached_by = time.process_time(), {}
    for classes, items, equal in ((84, 8, True), (84, 8, False), (224, 8, False), (560, 24, False)):
        runs: dict[str, list[list[float]]] = {}
        for seed in SEEDS:
            problem = curves(classes, items, seed=seed, equal_sizes=equal)
            optimum = solve(problem, Mckp()).loss
            losses = {name: ours(table, problem, EVALUATIONS[-1], seed) for name, table in guesses(problem, seed).items()}
            losses["strict"] = strict(problem, EVALUATIONS[-1], seed)
            for name, reached in losses.items():
                runs.setdefault(name, []).append([loss / optimum - 1 for loss in reached])
        for name, values in runs.items():
            reached_by[classes, items, equal, name] = mean = np.mean(values, axis=0)
            row = "  ".join(f"{value:9.2%}" for value in mean)
            lines.append(f"{f'{classes} x {items}':>9} {'equal' if equal else 'unequal':>8} {name:>10}  {row}")
    lines.append(f"{time.process_time() - started:.0f} s of processor time")
    with capfd.disabled():
        print("\n" + "\n".join(lines))  # noqa: T201  (the table is what a benchmark is for)
    for (classes, items, equal, name), values in reached_by.items():
        assert name == "strict" or values[-1] < reached_by[classes, items, equal, "strict"][-1]
        assert name != "table" or classes > 500 or values[-1] < 0.01
