"""All steps by falling rate as far as some budgets can tell: exactly where one of them ends, by the bucket elsewhere."""

from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.hulls.descending import descending_order
from solvers.hulls.steps import StepGrid, Steps

STEPS_OF_BUCKET = 16  # on average
LARGEST_KEY = 16  # bits; the tables of so many buckets stay in the processor's cache
EXACT = 2**52  # float64 adds up whole numbers exactly below twice this


@dataclass(frozen=True, slots=True, eq=False)
class CoarseOrder:
    """Buckets of steps of like rate, and the steps of the buckets in which a budget ends.

    Attributes:
        bucket: int64 ``[S]``, of every step of the grid; the fastest are in bucket 0.
        broken: int64 ``[B]``, the first bucket that does not fit whole; never falling.
        near: int64 ``[H]``, the positions in ``grid.cell`` of the steps in order.
        steps: these steps, by falling rate.
        used: int64 ``[H]``, growth of all steps of the grid up to each of these, itself included.
        total: growth of all steps of the grid.
    """

    bucket: Integers
    broken: Integers
    near: Integers
    steps: Steps
    used: Integers
    total: int

    def first_budgets(self, after: Integers) -> Integers:
        """The first budget that takes each step of the grid, int64 ``[S]``; B where none does.

        Args:
            after: int64 ``[B]``, how many of ``steps`` each budget has passed.
        """
        buckets = int(self.bucket.max(initial=-1)) + 1
        first = _first_beyond(self.broken, buckets)[self.bucket]
        first[self.near] = _first_beyond(after, self.near.shape[0])
        return first


def sort_coarsely(grid: StepGrid, room: Integers) -> CoarseOrder:
    """One pass that counts into buckets, and an exact order in the few buckets where a budget ends and in their neighbours.

    Args:
        grid: the hulls.
        room: int64 ``[B]``, budgets above the floor, ≥ 0, never falling.
    """
    value, grown = grid.value.ravel()[grid.cell], grid.grown.ravel()[grid.cell]
    bucket = _buckets(value)
    edge = _edges(_exact_sums(bucket, grown))
    broken = np.searchsorted(edge[1:], room, side="right")
    wanted = np.zeros(edge.shape[0] + 1, dtype=np.bool_)  # two more than buckets: beyond the last, and before the first
    for beside in (-1, 0, 1):
        wanted[broken + beside] = True
    near = np.flatnonzero(wanted[bucket])
    near = near[descending_order(value[near])]
    steps = grid.steps(grid.cell[near])
    within, inside = _edges(steps.grown), bucket[near]
    begins = np.searchsorted(inside, np.arange(edge.shape[0] - 1))
    used = within[1:] + (edge[:-1] - within[begins])[inside]
    return CoarseOrder(bucket, broken, near, steps, used, int(edge[-1]))


def _edges(parts: Integers) -> Integers:
    """0 and the sums of the first one, two, … parts."""
    edges = np.zeros(parts.shape[0] + 1, dtype=np.int64)
    np.cumsum(parts, out=edges[1:])
    return edges


def _first_beyond(ends: Integers, count: int) -> Integers:
    """For 0 … count−1 the position of the first of the never falling ``ends`` that lies beyond it."""
    return np.repeat(np.arange(ends.shape[0] + 1), np.diff(ends, prepend=0, append=count))


def _buckets(value: Floats) -> Integers:
    """Equal widths of the leading bits, in which positive numbers are ordered; falling values, rising buckets."""
    if value.shape[0] == 0:
        return np.zeros(0, dtype=np.int64)
    depth = value.view(np.int64)
    depth = depth.max() - depth
    bits = min((value.shape[0] // STEPS_OF_BUCKET).bit_length(), LARGEST_KEY)
    bucket: Integers = depth >> max(int(depth.max()).bit_length() - bits, 0)
    return bucket


def _exact_sums(bucket: Integers, grown: Integers) -> Integers:
    """Growth of every bucket: added up in float64, in two halves where one might not be exact."""
    if float(grown.sum(dtype=np.float64)) < EXACT:
        return np.bincount(bucket, weights=grown).astype(np.int64)
    high, low = grown >> 31, grown & (2**31 - 1)
    return (np.bincount(bucket, weights=high).astype(np.int64) << 31) + np.bincount(bucket, weights=low).astype(np.int64)
