"""The items of every class as a ladder of levels, and the classes whose ladders are the same."""

from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.problem import Problem


@dataclass(frozen=True, slots=True, eq=False)
class Ladders:
    """Levels of all classes: their allowed items from the smallest to the largest.

    Attributes:
        order: int64 ``[N, K]``, the item at each level; forbidden items come last and are no levels.
        rank: int64 ``[N, K]``, the level of each item.
        count: int64 ``[N]``, levels of each class.
        weight: float64 ``[N, K]``, what levels are sorted by: the size, or with several budgets Σ_r size_r/budget_r.
        group: int64 ``[N]``, classes of one number have equal sizes at every level, in every row.
        shared: int64 ``[S]``, classes whose group has at least two members.
    """

    order: Integers
    rank: Integers
    count: Integers
    weight: Floats
    group: Integers
    shared: Integers


def build_ladders(problem: Problem) -> Ladders:
    """Sort the items of each class; items of equal size by falling loss, so that one level up is no worse. ``O(N·K·log K)``."""
    allowed, sizes = problem.allowed(), problem.sizes
    shares = np.maximum(problem.budgets, 1).astype(np.float64)
    weight: Floats = sizes[0].astype(np.float64) if len(sizes) == 1 else np.tensordot(1 / shares, sizes.astype(np.float64), 1)
    key = sizes[0] if len(sizes) == 1 else weight
    finite = np.where(allowed, problem.loss, 0.0)
    order = np.lexsort((-finite, np.where(allowed, key, 0), ~allowed), axis=1)
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(problem.items)[None, :], axis=1)
    table = np.where(allowed, sizes, -1).transpose(1, 0, 2)
    table = np.take_along_axis(table, order[:, None, :], axis=2).reshape(problem.classes, len(sizes) * problem.items)
    _, group, members = np.unique(table, axis=0, return_inverse=True, return_counts=True)
    group = group.reshape(-1)
    return Ladders(order, rank, allowed.sum(axis=1), weight, group, np.flatnonzero(members[group] > 1))
