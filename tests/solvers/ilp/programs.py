"""Small problems with several budgets and every kind of rule."""

import numpy as np

from solvers import Problem
from solvers.side_rules import AbstractSideRule, ContiguousRule, CountRule, DistanceRule, ImplicationRule
from tests.solvers.instances import LOSSES, SIZES, curves

LOSS_KINDS, SIZE_KINDS = tuple(LOSSES), tuple(SIZES)


def some_rules(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[AbstractSideRule, ...]:
    """Nought to four rules of any kind; now and then they contradict one another."""
    classes, items = shape
    rules: list[AbstractSideRule] = []
    for kind in rng.integers(0, 4, rng.integers(0, 5)):
        mask = rng.random(shape) < 0.5
        few = tuple(np.flatnonzero(rng.random(items) < 0.5).tolist())
        more = tuple(np.flatnonzero(rng.random(items) < 0.6).tolist())
        i, j = (int(number) for number in rng.integers(0, classes, 2))
        match kind:
            case 0:
                low = int(rng.integers(0, classes + 1))
                limits = [(low, None), (None, low), (min(low + 1, classes), low)][rng.integers(0, 3)]
                rules.append(CountRule(mask, at_most=limits[0], at_least=limits[1]))
            case 1:
                rules.append(ImplicationRule(i, few, j, more))
            case 2:
                rules.append(ContiguousRule(tuple(rng.permutation(classes)[: rng.integers(0, classes + 1)].tolist()), mask))
            case _:
                rules.append(DistanceRule(rng.integers(0, items, shape[0]), int(rng.integers(1, classes + 1))))
    return tuple(rules)


def ruled_problem(seed: int, *, losses: str, sizes: str, budgets: int = 3) -> Problem:
    """Up to 6 classes of up to 4 items under several budgets and some rules."""
    rng = np.random.default_rng([seed, budgets])
    shape = (int(rng.integers(1, 7)), int(rng.integers(1, 5)))
    loss = LOSSES[losses](rng, shape).astype(np.float64)
    size = np.stack([SIZES[sizes](rng, shape) for _ in range(budgets)])
    if rng.random() < 0.5:
        mask = rng.random(shape) < 0.3
        mask[np.arange(shape[0]), rng.integers(0, shape[1], shape[0])] = False
        loss[mask] = np.inf
    allowed = np.isfinite(loss)
    least = np.where(allowed, size, np.iinfo(np.int64).max).min(axis=2).sum(axis=1)
    most = np.where(allowed, size, 0).max(axis=2).sum(axis=1)
    shares = rng.uniform(0.1, 1.05, budgets)
    limits = [int(low) + int(int(high - low) * share) for low, high, share in zip(least, most, shares, strict=True)]
    return Problem(loss, size, np.array(limits), some_rules(rng, shape))


def three_budgets(classes: int, *, seed: int, rules: bool) -> Problem:
    """The study's curves under size, latency and bit-operations; with rules a count and twenty implications as well.

    Latency does not follow the bits, and bit-operations follow the size only up to a factor of each class. The budgets are
    a little less than what the cheapest choice at some prices takes, so that all of them bind.
    """
    one = curves(classes, 8, seed=seed)
    rng = np.random.default_rng([seed, classes, 9])
    size = one.sizes[0]
    steps = 3 + np.array([6.0, 5.0, 1.0, 4.0, 2.0, 3.0, 5.0, 9.0]) * np.exp(rng.normal(0, 0.3, size.shape))
    latency = np.rint(size[:, :1] / 2_000 * steps).astype(np.int64)
    operations = np.rint(size * np.exp(rng.normal(0, 0.5, (classes, 1))) / 64).astype(np.int64)
    sizes = np.stack([size, latency, operations])
    prices = 1e-3 / sizes.mean(axis=(1, 2))
    cheapest = (one.loss + np.tensordot(prices, sizes.astype(float), 1)).argmin(axis=1)
    budgets = np.rint(sizes[:, np.arange(classes), cheapest].sum(axis=1) * (1 - 0.3 / classes)).astype(np.int64)
    wide = np.zeros(one.loss.shape, dtype=bool)
    wide[:, 5:] = True
    pairs = rng.integers(0, classes, (20, 2)).tolist()
    implied = tuple(ImplicationRule(i, (0, 1), j, (4, 5, 6, 7)) for i, j in pairs if i != j)
    return Problem(
        one.loss, sizes, budgets, (CountRule(wide, at_most=int(0.8 * (cheapest >= 5).sum())), *implied) if rules else ()
    )
