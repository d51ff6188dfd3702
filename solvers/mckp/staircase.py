"""Which points of a long row are beaten by an earlier one in two numbers at once."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers

LEAF = 16

T = TypeVar("T", bound=np.generic)


def find_beaten(size: Integers, loss: Floats) -> NDArray[np.bool_]:
    """Of points in a row, those that follow one whose size and loss are no greater.

    Divide and conquer: the row is halved again and again. In every pair of halves the points of the right one, in the order
    of their sizes, are compared with the least loss so far of the left one; within the leaves every pair is compared.
    """
    count = loss.shape[0]
    width = total = max(1 << (count - 1).bit_length(), LEAF)
    place = np.arange(total)
    place[:count] = size.argsort(kind="stable")
    value = np.full(total, np.inf)
    value[:count] = loss
    beaten = _beaten_in_leaves(place, value)
    value = value[place]
    while width > LEAF:
        half = width // 2
        right = (place & half) != 0
        lowest = np.minimum.accumulate(np.where(right, np.inf, value).reshape(-1, width), axis=1).ravel()
        beaten[place[right & (lowest <= value)]] = True
        place, value = _halved(place, right, half), _halved(value, right, half)
        width = half
    return beaten[:count]


def _beaten_in_leaves(place: Integers, value: Floats) -> NDArray[np.bool_]:
    ranks = np.empty(place.shape[0], dtype=np.int64)
    ranks[place] = np.arange(place.shape[0])
    rank, value = ranks.reshape(-1, LEAF), value.reshape(-1, LEAF)
    beats = rank[:, :, None] < rank[:, None, :]
    beats &= value[:, :, None] <= value[:, None, :]
    beats &= np.triu(np.ones((LEAF, LEAF), dtype=bool), 1)
    beaten: NDArray[np.bool_] = beats.any(axis=1).ravel()
    return beaten


def _halved(values: NDArray[T], right: NDArray[np.bool_], half: int) -> NDArray[T]:
    """In every run of ``2·half`` the entries of the left half first, either half in its old order."""
    parted = np.empty((values.shape[0] // (2 * half), 2, half), dtype=values.dtype)
    parted[:, 0] = values[~right].reshape(-1, half)
    parted[:, 1] = values[right].reshape(-1, half)
    return parted.ravel()
