"""Fitness functions to search: per-unit tables, so that samples differ, and one that is not additive."""

from dataclasses import dataclass, field

import numpy as np

from solvers import Problem
from solvers.arrays import Floats, Integers
from solvers.evolutionary import Sample
from tests.solvers.instances import SIZES


@dataclass(eq=False)
class Units:
    """Mean over the units of a sample of Σ_i table[unit, i, choice_i]; remembers what it was asked.

    Attributes:
        tables: float64 ``[P, N, K]``, one table a unit.
        asked: (choice, sample) pairs in order.
        calls: batches so far.
    """

    tables: Floats
    asked: list[tuple[bytes, bytes]] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    calls: int = 0

    def __call__(self, choices: Integers, sample: Sample) -> Floats:
        self.calls += 1
        self.samples.append(sample)
        self.asked += [(choice.tobytes(), sample.indices.tobytes()) for choice in choices]
        return self.on(choices, sample.indices)

    def on(self, choices: Integers, indices: Integers) -> Floats:
        rows = np.arange(self.tables.shape[1])
        values: Floats = self.tables[indices][:, rows, choices].mean(axis=0).sum(axis=1)
        return values


def noisy_units(problem: Problem, pool: int, *, seed: int, noise: float = 1.0) -> Units:
    """The table of the problem with log-normal noise in every unit."""
    rng = np.random.default_rng(seed)
    loss = np.where(problem.allowed(), problem.loss, 0.0)
    return Units(loss * np.exp(rng.normal(0, noise, (pool, *loss.shape))))


def several_budgets(seed: int, *, rows: int, classes: int = 8, items: int = 4, sizes: str = "small") -> Problem:
    """A problem with some forbidden items, equal classes here and there, and budgets that a known choice keeps."""
    rng = np.random.default_rng(seed)
    table = SIZES[sizes](rng, (rows * classes, items)).reshape(rows, classes, items)
    table[:, classes // 2 :] = table[:, : classes - classes // 2]
    loss = rng.random((classes, items))
    loss[rng.random((classes, items)) < 0.2] = np.inf
    known = rng.integers(0, items, classes)
    loss[np.arange(classes), known] = rng.random(classes)
    budgets = table[:, np.arange(classes), known].sum(axis=1)
    return Problem(loss, table, budgets)
