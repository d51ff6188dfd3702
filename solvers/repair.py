"""Feasible, then better: moves of one or two classes under any number of budgets, in exact integers."""

from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.problem import Problem, class_minima, total_loss, total_sizes

POOL = 128  # classes among which pairs of moves are looked for: those with the cheapest moves
PAIRED = 256  # cheapest of their moves that are paired
TRIPLED = 64  # of them that are taken three at a time
SAVING = 1e-14  # share of the largest loss below which a saving is rounding
FREE = 1e-6  # share of the slack below which a move counts as taking nothing
SWAPS = 50  # rounds of swaps
REPAIRS = 1_000  # rounds of repairs; a round of a large problem takes many moves


@dataclass(frozen=True, slots=True, eq=False)
class _Changes:
    """What every other item of every class would change.

    Attributes:
        loss: float64 ``[N, K]``, ``inf`` where forbidden.
        sizes: int64 ``[R, N, K]``; 0 where forbidden.
        slack: int64 ``[R]``, what the choice leaves of the budgets, negative where it is over.
    """

    loss: Floats
    sizes: Integers
    slack: Integers


def _changes(problem: Problem, choice: Integers) -> _Changes:
    rows = np.arange(problem.classes)
    loss = problem.loss - problem.loss[rows, choice][:, None]
    sizes = problem.sizes - problem.sizes[:, rows, choice][:, :, None]
    if not problem.all_allowed:
        sizes = np.where(problem.allowed(), sizes, 0)
    return _Changes(loss, sizes, problem.budgets - total_sizes(problem, choice))


def priced(sizes: Integers, prices: Floats) -> Floats:
    """Σ_r price_r·size_r, float64 ``[N, K]``, row by row."""
    total = np.zeros(sizes.shape[1:])
    for size, price in zip(sizes, prices.tolist(), strict=True):
        total += size * price
    return total


def keep_budgets(problem: Problem, choice: Integers, multipliers: Floats) -> Integers | None:
    """Move a choice within the budgets by the moves of least priced loss per violation removed; ``None`` when it gets stuck.

    The violation is ``Σ_r max(size_r − budget_r, 0)``, each row relative to what it has above the smallest items. With one
    budget that the smallest items keep it never gets stuck.

    Args:
        problem: what to keep.
        choice: int64 ``[N]``, allowed items.
        multipliers: float64 ``[R]``, the price of a unit of each size.
    """
    choice = choice.copy()
    room = np.maximum(problem.budgets - class_minima(problem).sum(axis=1), 1).astype(np.float64)
    for _ in range(REPAIRS):
        changes = _changes(problem, choice)
        over = -changes.slack
        if (over <= 0).all():
            return choice
        left = np.maximum(over[:, None, None] + changes.sizes, 0) / room[:, None, None]
        removed = np.maximum(over, 0) @ (1.0 / room) - left.sum(axis=0)
        useful = np.isfinite(changes.loss) & (removed > 1e-15 * float((np.abs(over) / room).max()))
        if not useful.any():
            return None
        price = changes.loss + priced(changes.sizes, multipliers)
        with np.errstate(over="ignore"):
            ratio = np.where(useful, price, np.inf) / np.where(useful, removed, 1.0)
        item = ratio.argmin(axis=1)
        best = ratio[np.arange(item.shape[0]), item]
        order = np.argsort(best, kind="stable")[: np.count_nonzero(np.isfinite(best))]
        total = np.cumsum(changes.sizes[:, order, item[order]], axis=1) + over[:, None]
        still_over = (total[over > 0] > 0).all(axis=0) & (total[over <= 0] <= 0).all(axis=0)
        first = order[: max(int(np.logical_and.accumulate(still_over).sum()), 1)]
        choice[first] = item[first]
    return None


def improve(problem: Problem, choice: Integers, multipliers: Floats, *, swaps: int = SWAPS) -> Integers:
    """A feasible choice after the single moves that save loss and fit, and after the best swaps of two moves.

    Three ways are tried, fills by return, fills by saving and swaps first, because a fill can take the room of a better
    swap. Swaps are looked
    for among the ``POOL`` classes whose moves cost least at the multipliers.

    Args:
        problem: what to keep.
        choice: int64 ``[N]``, within every budget.
        multipliers: float64 ``[R]``, the price of a unit of each size.
        swaps: rounds of swaps, each the best of its round.
    """
    starts = [_fill(problem, choice, by_rate=True), _fill(problem, choice, by_rate=False), choice]
    found = [_swap_in_pool(problem, start, multipliers, swaps) for start in starts]
    return min(found, key=lambda one: total_loss(problem, one))


def _swap_in_pool(problem: Problem, choice: Integers, multipliers: Floats, swaps: int) -> Integers:
    if problem.classes <= POOL:
        return _swap(problem, choice, multipliers, swaps)
    changes = _changes(problem, choice)
    cost = changes.loss + priced(changes.sizes, multipliers)
    cost[np.arange(problem.classes), choice] = np.inf
    pool = np.sort(np.argpartition(cost.min(axis=1), POOL)[:POOL])
    own = problem.sizes[:, pool, choice[pool]].sum(axis=1)
    part = Problem(problem.loss[pool], problem.sizes[:, pool], changes.slack + own)
    choice = choice.copy()
    choice[pool] = _swap(part, choice[pool], multipliers, swaps)
    return _fill(problem, choice, by_rate=True)


def _fill(problem: Problem, choice: Integers, *, by_rate: bool) -> Integers:
    """Take moves that save loss and fit: those that save most, or most for the share of the slack that they take."""
    choice = choice.copy()
    while True:
        changes = _changes(problem, choice)
        fits = (changes.sizes <= changes.slack[:, None, None]).all(axis=0) & (changes.loss < 0)
        if not fits.any():
            return choice
        worth = np.where(fits, changes.loss, 0.0)
        if by_rate:
            taken = priced(np.maximum(changes.sizes, 0), 1.0 / np.maximum(changes.slack, 1))
            worth /= np.maximum(taken, FREE)
        item = worth.argmin(axis=1)
        best = worth[np.arange(item.shape[0]), item]
        order = np.argsort(best, kind="stable")[: np.count_nonzero(best < 0)]
        total = np.cumsum(changes.sizes[:, order, item[order]], axis=1)
        together = np.logical_and.accumulate((total <= changes.slack[:, None]).all(axis=0))
        first = order[: int(together.sum())]
        choice[first] = item[first]


def _swap(problem: Problem, choice: Integers, multipliers: Floats, swaps: int) -> Integers:
    choice = choice.copy()
    for _ in range(swaps):
        changes = _changes(problem, choice)
        cost = changes.loss + priced(changes.sizes, multipliers)
        cost[np.arange(problem.classes), choice] = np.inf
        found = _best_pair(changes, cost) or _best_triple(changes, cost)
        if found is None:
            return choice
        klass, item = found
        choice[klass] = item
        choice = _fill(problem, choice, by_rate=True)
    return choice


def _cheapest(cost: Floats, count: int) -> tuple[Integers, Integers]:
    """Classes and items of the moves of least cost, the finite ones among the first ``count``, class by class."""
    flat = cost.ravel()
    near = np.arange(flat.shape[0]) if flat.shape[0] <= count else np.sort(np.argpartition(flat, count)[:count])
    near = near[np.isfinite(flat[near])]
    return near // cost.shape[1], near % cost.shape[1]


def _best_pair(changes: _Changes, cost: Floats) -> tuple[Integers, Integers] | None:
    """The two moves of different classes that save most and fit together; ``None`` when no pair saves anything."""
    klass, item = _cheapest(cost, PAIRED)
    if klass.size == 0:
        return None
    loss, sizes = changes.loss[klass, item], changes.sizes[:, klass, item]
    together = loss[:, None] + loss[None, :]
    allowed = klass[:, None] != klass[None, :]
    allowed &= together < -SAVING * np.abs(loss).max()
    for size, room in zip(sizes, changes.slack, strict=True):
        allowed &= size[:, None] + size[None, :] <= room
    together[~allowed] = np.inf
    best = int(together.argmin())
    pair = np.array(divmod(best, klass.shape[0]))
    return (klass[pair], item[pair]) if np.isfinite(together.ravel()[best]) else None


def _best_triple(changes: _Changes, cost: Floats) -> tuple[Integers, Integers] | None:
    """The same for three moves, of fewer."""
    klass, item = _cheapest(cost, TRIPLED)
    count = klass.shape[0]
    first, second = np.triu_indices(count, 1)
    loss, sizes = changes.loss[klass, item], changes.sizes[:, klass, item]
    apart = klass[first] != klass[second]
    first, second = first[apart], second[apart]
    together = (loss[first] + loss[second])[:, None] + loss
    allowed = (klass[second][:, None] < klass) & (together < -SAVING * np.abs(loss).max(initial=0.0))
    for size, room in zip(sizes, changes.slack, strict=True):
        allowed &= (size[first] + size[second])[:, None] + size <= room
    if not allowed.any():
        return None
    together[~allowed] = np.inf
    pair, third = divmod(int(together.argmin()), count)
    three = np.array([first[pair], second[pair], third])
    return klass[three], item[three]
