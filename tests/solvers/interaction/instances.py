"""Problems with an interaction: random ones within reach of brute force, and the families of the study."""

import numpy as np

from solvers import Problem
from solvers.arrays import Floats, Integers
from solvers.interaction import Gram, PairTables
from tests.solvers.instances import budget_at, tiny_problem

BITS = np.array([2, 3, 4, 8])


def with_interaction(problem: Problem, interaction: Gram | PairTables) -> Problem:
    return Problem(problem.loss, problem.sizes, problem.budgets, (), interaction)


def scale(problem: Problem) -> float:
    """The size of the losses of single classes, for an interaction of the same size."""
    return float(np.abs(problem.loss[problem.allowed()]).max(initial=0.0)) or 1.0


def graph(kind: str, classes: int, rng: np.random.Generator) -> Integers:
    """Pairs of a row in random order, of a ring, of blocks of three and their neighbours, or all."""
    if kind in ("row", "ring"):
        order = rng.permutation(classes)
        pairs = np.stack((order[:-1], order[1:]), axis=1)
        if kind == "ring" and classes > 2:
            pairs = np.concatenate((pairs, [[order[-1], order[0]]]))
        return pairs[rng.random(pairs.shape[0]) < 0.85] if kind == "row" else pairs
    first, second = np.triu_indices(classes, 1)
    near = (second // 3 - first // 3 <= 1) if kind == "blocks" else np.ones(first.shape[0], dtype=bool)
    return np.stack((first[near], second[near]), axis=1)


def tiny_pairs(seed: int, *, kind: str, losses: str = "signed", sizes: str = "bits", forbid: bool = False) -> Problem:
    problem = tiny_problem(seed, losses=losses, sizes=sizes, forbid=forbid)
    rng = np.random.default_rng([seed, 1])
    pairs = graph(kind, problem.classes, rng).reshape(-1, 2)
    tables = rng.normal(size=(pairs.shape[0], problem.items, problem.items)) * scale(problem)
    return with_interaction(problem, PairTables.merged(pairs, tables, problem.classes))


def tiny_gram(
    seed: int, *, losses: str = "signed", sizes: str = "bits", forbid: bool = False, diagonal: bool | None = None
) -> Problem:
    problem = tiny_problem(seed, losses=losses, sizes=sizes, forbid=forbid)
    rng = np.random.default_rng([seed, 2])
    samples = int(rng.integers(1, 5))
    factors = rng.normal(0.3, 1.0, (samples, problem.classes, problem.items))
    weights = rng.random(samples) * scale(problem) * (rng.random(samples) < 0.9)
    return with_interaction(problem, Gram(factors, weights, seed % 2 == 0 if diagonal is None else diagonal))


def two_budgets(problem: Problem, *, share: float = 0.6) -> Problem:
    rng = np.random.default_rng(problem.classes)
    second = rng.integers(1, 9, problem.loss.shape)
    budget = budget_at(problem.loss, second, share)
    sizes, budgets = np.stack((problem.sizes[0], second)), np.append(problem.budgets, budget)
    return Problem(problem.loss, sizes, budgets, (), problem.interaction)


def model_losses(classes: int, *, seed: int, items: int = 4) -> tuple[np.random.Generator, Floats, Integers, int]:
    """Losses c·4^−bits with noise and the sizes of a llama (768 wide at 84 classes, 4,096 at 224), seven classes a block."""
    rng = np.random.default_rng([seed, classes])
    wide, inner = (768, 2048) if classes <= 84 else (4096, 11008)
    weights = np.tile([wide * wide] * 4 + [wide * inner] * 3, -(-classes // 7))[:classes]
    bits = BITS if items == 4 else np.linspace(2, 9, items).astype(np.int64)
    scales = np.exp(rng.normal(0, 1.5, (classes, 1)))
    loss = scales * 4.0**-bits * np.exp(rng.normal(0, 0.25, (classes, items)))
    sizes = weights[:, None] * bits
    return rng, loss, sizes, budget_at(loss, sizes, 0.4)


def unit_directions(rng: np.random.Generator, classes: int, rank: int) -> Floats:
    """Rows of length one with a common mean: errors of classes that mostly add up."""
    directions = rng.normal(0.5, 1.0, (classes, rank))
    normed: Floats = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return normed


def dense_model(classes: int, *, seed: int = 0, share: float = 0.3, rank: int = 12, items: int = 4) -> Problem:
    """``sᵀCs`` with s the root of the losses and ``C = (1 − share)·I + share·LLᵀ``, its identity part in the losses."""
    rng, loss, sizes, budget = model_losses(classes, seed=seed, items=items)
    factors = unit_directions(rng, classes, rank).T[:, :, None] * np.sqrt(loss)
    return Problem((1 - share) * loss, sizes[None], np.array([budget]), (), Gram(factors, np.full(rank, share)))


def local_model(classes: int, kind: str, *, seed: int = 0) -> Problem:
    """The same with C of a row, or of blocks of seven classes and their neighbours."""
    rng, loss, sizes, budget = model_losses(classes, seed=seed)
    first, second = np.triu_indices(classes, 1)
    near = second == first + 1 if kind == "row" else second // 7 - first // 7 <= 1
    first, second = first[near], second[near]
    if kind == "row":
        entries = rng.uniform(-0.49, 0.49, first.shape[0])
    else:
        directions = unit_directions(rng, classes, 6)
        entries = 0.12 * (directions[first] * directions[second]).sum(axis=1)
    roots = np.sqrt(loss)
    tables = 2.0 * entries[:, None, None] * roots[first][:, :, None] * roots[second][:, None, :]
    pairs = PairTables(np.stack((first, second), axis=1), tables, classes)
    return Problem(loss, sizes[None], np.array([budget]), (), pairs)
