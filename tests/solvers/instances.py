"""Problems to solve: random families for every test of this package."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from solvers import Problem

Floats = NDArray[np.floating]
Integers = NDArray[np.int64]

BITS_OF_8 = np.array([2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 16.0])


def one_budget(loss: Floats, sizes: Integers, budget: int) -> Problem:
    return Problem(np.asarray(loss, dtype=np.float64), np.asarray(sizes)[None], np.array([budget]))


def budget_at(loss: Floats, sizes: Integers, share: float) -> int:
    """A budget at a share of the range from the smallest to the largest total, in whole units."""
    allowed = np.isfinite(loss)
    low = sum(int(size[mask].min()) for size, mask in zip(sizes, allowed, strict=True))
    high = sum(int(size[mask].max()) for size, mask in zip(sizes, allowed, strict=True))
    return low + int((high - low) * share)


def curves(classes: int, items: int, *, seed: int, share: float = 0.4, equal_sizes: bool = False) -> Problem:
    """The study's family: loss c·4^−bits with log-normal noise, sizes log-uniform over 1e5..5e7 weights or all equal."""
    rng = np.random.default_rng([seed, classes, items])
    bits = BITS_OF_8 if items == 8 else np.linspace(2, 8, items)
    scale = np.exp(rng.normal(0, 1.5, (classes, 1)))
    loss = scale * 4.0**-bits * np.exp(rng.normal(0, 0.25, (classes, items)))
    weights = np.full(classes, 7168 * 2048) if equal_sizes else np.exp(rng.uniform(np.log(1e5), np.log(5e7), classes))
    sizes = np.rint(weights[:, None] * bits).astype(np.int64)
    return one_budget(loss, sizes, budget_at(loss, sizes, share))


def two_budgets(
    classes: int, items: int, *, seed: int, shares: tuple[float, float] = (0.4, 0.4), equal_sizes: bool = False
) -> Problem:
    """``curves`` with a latency beside the memory: size over a bandwidth that items reach differently, and a constant a class.

    Each budget lies at its share of the range of its own row, so small shares may be infeasible together.
    """
    memory = curves(classes, items, seed=seed, share=shares[0], equal_sizes=equal_sizes)
    rng = np.random.default_rng([seed, classes, items, 2])
    sizes = memory.sizes[0]
    latency = sizes / 8e3 * np.exp(rng.normal(0, 0.3, (classes, items))) + rng.uniform(0, 2e4, (classes, 1))
    latency = np.rint(latency).astype(np.int64) + 1
    budgets = np.array([memory.budgets[0], budget_at(memory.loss, latency, shares[1])])
    return Problem(memory.loss, np.stack((sizes, latency)), budgets)


LOSSES: dict[str, Callable[[np.random.Generator, tuple[int, int]], Floats]] = {
    "uniform": lambda rng, shape: rng.random(shape),
    "ties": lambda rng, shape: rng.integers(0, 4, shape).astype(float),
    "signed": lambda rng, shape: rng.normal(size=shape),
    "negative": lambda rng, shape: -rng.random(shape),
    "wide": lambda rng, shape: np.exp(rng.normal(0, 8, shape)),
    "tiny": lambda rng, shape: rng.integers(-3, 4, shape) * 1e-30,
    "huge": lambda rng, shape: rng.normal(size=shape) * 1e200,
    "flat": lambda rng, shape: np.full(shape, 0.5),
}
SIZES: dict[str, Callable[[np.random.Generator, tuple[int, int]], Integers]] = {
    "small": lambda rng, shape: rng.integers(0, 10, shape),
    "bits": lambda rng, shape: rng.integers(0, 10**12, shape),
    "equal": lambda rng, shape: np.full(shape, 7, dtype=np.int64),
    "lattice": lambda rng, shape: rng.integers(1, 5, shape) * 64,
    "past_2_53": lambda rng, shape: rng.integers(2**58, 2**59, shape),
}


def tiny_problem(seed: int, *, losses: str, sizes: str, forbid: bool, classes: int = 6, items: int = 4) -> Problem:
    """Up to 6 classes of up to 4 items, within reach of brute force; the budget falls a little outside the range now and then."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, classes + 1)), int(rng.integers(1, items + 1)))
    loss, size = LOSSES[losses](rng, shape), SIZES[sizes](rng, shape)
    if forbid:
        mask = rng.random(shape) < 0.35
        mask[np.arange(shape[0]), rng.integers(0, shape[1], shape[0])] = False
        loss[mask] = np.inf
    return one_budget(loss, size, budget_at(loss, size, rng.uniform(-0.05, 1.1)))


def tiny_two_budgets(seed: int, *, losses: str, sizes: tuple[str, str], forbid: bool) -> Problem:
    """``tiny_problem`` with two rows of sizes.

    The budgets are loose (seed 0 modulo 3), tight and often infeasible together (1), or the exact totals of a choice (2).
    """
    first = tiny_problem(seed, losses=losses, sizes=sizes[0], forbid=forbid)
    rng = np.random.default_rng([seed, 2])
    rows = np.stack((first.sizes[0], SIZES[sizes[1]](rng, first.loss.shape)))
    most = (1.0, 0.4, 0.0)[seed % 3]
    if most:
        budgets = [budget_at(first.loss, row, rng.uniform(-0.02, most)) for row in rows]
    else:
        choice = [int(rng.choice(np.flatnonzero(mask))) for mask in first.allowed()]
        budgets = [sum(int(size) for size in row[np.arange(len(choice)), choice]) for row in rows]
    return Problem(first.loss, rows, np.array(budgets))


def adversarial(family: str, classes: int, *, seed: int, share: float = 0.43) -> Problem:
    """Families on which the bound says little: losses that follow the sizes, and fixed charges."""
    rng = np.random.default_rng([seed, classes])
    weights = np.exp(rng.uniform(np.log(1e5), np.log(5e7), (classes, 1)))
    sizes = np.rint(weights * np.linspace(2, 8, 8) * np.exp(rng.normal(0, 0.05, (classes, 8)))).astype(np.int64)
    saved = (sizes - sizes.max(axis=1, keepdims=True)) * -1e-9
    if family == "nearly_proportional":
        saved = saved * np.exp(rng.normal(0, 1e-6, saved.shape))
    if family == "fixed_charge":
        saved = saved - (sizes > sizes.min(axis=1, keepdims=True)) * (0.1e-9 * sizes.max())
    return one_budget(saved, sizes, budget_at(saved, sizes, share))
