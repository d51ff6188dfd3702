"""Rows of the solver's problem beside the stored bits: what groups take of a limit, in whole units."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from planner.errors import InvalidRequestError

MOST_UNITS: Final = 2**62
"""Whole units that all groups may take of one limit: sums of them, and of two such sums, are still numbers of 64 bits."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One upper limit on the sum of what all groups take.

    Attributes:
        text: the limit in words.
        table: int64 (groups, formats): what a group takes in each format, never negative; any number where not legal.
        limit: the most that all groups together may take; negative when nothing can keep it.
    """

    text: str
    table: NDArray[np.int64]
    limit: int

    def least(self, legal: NDArray[np.bool_]) -> int:
        """What the groups take at least, each for itself."""
        return smallest_sum(self.table, legal)

    def most(self, legal: NDArray[np.bool_]) -> int:
        """What the groups take at most, each for itself."""
        return largest_sum(self.table, legal)

    def can_bind(self, legal: NDArray[np.bool_]) -> bool:
        """Some assignment breaks the limit."""
        return self.most(legal) > self.limit

    def taken(self, choice: NDArray[np.int64]) -> int:
        """What an assignment takes, int64 (groups,)."""
        return int(self.table[np.arange(len(choice)), choice].sum())


def clamped(limit: int) -> int:
    """A limit as solvers can have it: one above ``MOST_UNITS`` binds as little as that."""
    return min(limit, MOST_UNITS)


def refuse_beyond(total: float, what: str, *, most: int = MOST_UNITS) -> None:
    """Check that a sum of whole units can be counted.

    Args:
        total: the largest sum, in Python's whole numbers or in float64, which do not wrap around.
        what: is summed, in words.
        most: that may be counted.

    Raises:
        InvalidRequestError: it is more.
    """
    if total > most:
        msg = f"{what} would add up to {total:.2g}, and plans count to {most:.2g}: lower context or batch"
        raise InvalidRequestError(msg)


def rough_sum(table: NDArray[np.int64]) -> float:
    """Sum over the groups of the largest entry in float64, which says whether the sum in int64 would wrap around."""
    return float(table.max(axis=1, initial=0).sum(dtype=np.float64))


def smallest_sum(table: NDArray[np.int64], legal: NDArray[np.bool_]) -> int:
    """Sum over the groups of the least legal entry."""
    return int(np.where(legal, table, np.iinfo(np.int64).max).min(axis=1, initial=2**62).sum())


def largest_sum(table: NDArray[np.int64], legal: NDArray[np.bool_]) -> int:
    """Sum over the groups of the largest legal entry."""
    return int(np.where(legal, table, 0).max(axis=1, initial=0).sum())
