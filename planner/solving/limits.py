"""The limits of a request over the layer groups: each one in whole units, with the way back to the user's."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from planner.budget import Budget, BudgetKind, Footprint, Meter
from planner.build import Classes
from planner.solving.rows import Row, largest_sum, smallest_sum
from sensitivity.formats.abstract import AbstractFormat

WORDS = {
    BudgetKind.EFFECTIVE_BITS: "effective bits",
    BudgetKind.FILE_BYTES: "file bytes",
    BudgetKind.RESIDENT_BYTES: "resident bytes",
    BudgetKind.DECODE_SECONDS: "seconds to decode a token",
    BudgetKind.PREFILL_SECONDS: "seconds to prefill",
    BudgetKind.BIT_OPERATIONS: "bit-operations of a token",
    BudgetKind.POOL_BYTES: "bytes of memory",
}


@dataclass(frozen=True, slots=True, eq=False)
class Metered:
    """What groups take of something that is no stored bit.

    Attributes:
        meter: how it is counted, and what is taken beside the groups.
        table: int64 (groups, formats), in whole units; 0 where not legal.
    """

    meter: Meter
    table: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """One limit over the layer groups.

    Attributes:
        budget: in the words of the user.
        meter: how it counts.
        table: int64 (groups, formats): whole units that a group takes in each format. Limits that count the same share it.
        room: the most that all groups may take; negative when what is not planned is over the limit alone.
    """

    budget: Budget
    meter: Meter
    table: NDArray[np.int64]
    room: int

    @property
    def text(self) -> str:
        """The limit in words."""
        return self.say(self.budget.value)

    @property
    def row(self) -> Row:
        """The limit for a solver."""
        return Row(self.text, self.table, self.room)

    def taken(self, choice: NDArray[np.int64]) -> int:
        """Whole units that an assignment takes, int64 (groups,)."""
        return int(self.table[np.arange(len(choice)), choice].sum())

    def say(self, value: float) -> str:
        """A value of this limit with its unit, for a message."""
        kind = self.budget.kind
        number = f"{int(value):,}" if self.meter.whole else f"{value:.8g}"
        where = f" on {self.budget.device}" if kind.counts_seconds else ""
        return f"{number} {WORDS[kind]}{where if self.budget.pool is None else f' in {self.budget.pool}'}"


@dataclass(frozen=True)
class Limits:
    """All limits of a request.

    Attributes:
        items: in the order of ``BudgetKind``.
        classes: the layer groups.
    """

    items: tuple[Limit, ...]
    classes: Classes[AbstractFormat]

    def __iter__(self) -> Iterator[Limit]:
        return iter(self.items)

    def within(self, classes: Classes[AbstractFormat]) -> "Limits":
        """The same limits over the same groups, of which some formats may be closed."""
        return Limits(self.items, classes)

    def least(self, limit: Limit) -> int:
        """Whole units of a limit that the groups take at least, each for itself."""
        stored = limit.table is self.classes.sizes
        return self.classes.smallest_bits if stored else smallest_sum(limit.table, self.classes.legal)

    def most(self, limit: Limit) -> int:
        """Whole units of a limit that the groups take at most, each for itself."""
        stored = limit.table is self.classes.sizes
        return self.classes.largest_bits if stored else largest_sum(limit.table, self.classes.legal)

    @cached_property
    def tightest(self) -> tuple[Limit, ...]:
        """Of the limits that count the same only the one with the least room: no other can bind."""
        return tuple(
            limit
            for limit in self.items
            if limit is min((other for other in self.items if other.table is limit.table), key=lambda other: other.room)
        )

    @cached_property
    def stored(self) -> Limit | None:
        """The tightest limit on all stored bits, if there is one."""
        return next((limit for limit in self.tightest if limit.table is self.classes.sizes), None)

    @cached_property
    def budget_bits(self) -> int:
        """Stored bits that all groups may take: where nothing limits them, those of the largest assignment."""
        return self.classes.largest_bits if self.stored is None else self.stored.room

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The other tight limits, for a solver."""
        return tuple(limit.row for limit in self.others)

    @cached_property
    def others(self) -> tuple[Limit, ...]:
        """The tight limits that ``rows`` are of."""
        return tuple(limit for limit in self.tightest if limit is not self.stored)


def pose_limits(
    budgets: Sequence[Budget],
    classes: Classes[AbstractFormat],
    footprint: Footprint,
    *,
    weights: int | None = None,
    metered: Mapping[Budget, Metered] | None = None,
) -> Limits:
    """Limits over layer groups.

    Args:
        budgets: upper limits; those that do not count stored bits must be in ``metered``.
        classes: layer groups, those of caches behind those of weights.
        footprint: what is beside the planned layers.
        weights: how many groups are of weights, if caches are planned too: file bytes and effective bits count weights alone.
        metered: what groups take of other things than stored bits, by the limit.

    Raises:
        InvalidRequestError: a budget that counts no bits, and that ``metered`` says nothing of.
    """
    known = metered or {}
    of_weights = classes.sizes
    if weights is not None:
        of_weights = classes.sizes.copy()
        of_weights[weights:] = 0
    found = []
    for budget in budgets:
        if budget in known:
            meter, table = known[budget].meter, known[budget].table
        else:
            meter = budget.meter(footprint, caches_planned=weights is not None)
            table = classes.sizes if budget.kind.counts_caches else of_weights
        found.append(Limit(budget, meter, table, meter.room(budget.value)))
    return Limits(tuple(found), classes)
