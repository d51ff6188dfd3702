"""Rows of the solver's problem beside the stored bits: what groups take of a limit, in whole units."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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


def smallest_sum(table: NDArray[np.int64], legal: NDArray[np.bool_]) -> int:
    """Sum over the groups of the least legal entry."""
    return int(np.where(legal, table, np.iinfo(np.int64).max).min(axis=1, initial=2**62).sum())


def largest_sum(table: NDArray[np.int64], legal: NDArray[np.bool_]) -> int:
    """Sum over the groups of the largest legal entry."""
    return int(np.where(legal, table, 0).max(axis=1, initial=0).sum())
