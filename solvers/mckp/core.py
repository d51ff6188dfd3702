"""The core: the moves that may be part of a better choice, in runs of which a choice takes one option or none.

A run is a class with its moves, or a bundle: of classes that have one move each, all of one size change, a choice takes some
number, and none does better than with the cheapest of them. So the options of a bundle are its cheapest move, its two cheapest,
and so on. Models have few shapes and formats, so that nine in ten classes of a core are in some bundle.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import inf
from typing import Final, NamedTuple

import numpy as np

from solvers.arrays import Integers
from solvers.mckp.moves import Corner, Moves

LONGEST: Final = 16
"""Moves of a bundle; the next cheapest begin another one, which bounds what one step of a search holds."""

Option = tuple[int, float]
"""Size change and reduced cost."""


@dataclass(frozen=True, slots=True, eq=False)
class Core:
    """The moves that may be part of a better choice, run by run, that with the cheapest option per unit of size first.

    Attributes:
        moves: all of them, one for each option.
        options: of all runs.
        starts: where the options of each run begin, and the end.
        bundled: of each run, whether option n is made of its first n moves; else it is the n-th alone.
        cheapest: least cost of an option of this run and those after it; ``inf`` at the end.
        up: least cost per unit of an option that adds size, from this run on.
        down: least cost per unit of an option that gives size back, from this run on.
    """

    moves: Moves
    options: list[Option]
    starts: list[int]
    bundled: list[bool]
    cheapest: list[float]
    up: list[float]
    down: list[float]

    @property
    def count(self) -> int:
        """How many runs there are."""
        return len(self.bundled)

    @property
    def classes(self) -> int:
        """How many classes the moves are of."""
        lengths = zip(pairwise(self.starts), self.bundled, strict=True)
        return sum(end - start if bundle else 1 for (start, end), bundle in lengths)

    def runs(self) -> Iterator[tuple[int, list[Option]]]:
        """Number of the first option, and the options, of each run."""
        return ((start, self.options[start:end]) for start, end in pairwise(self.starts))

    def made_by(self, options: Integers) -> Moves:
        """The moves of options of different runs."""
        moves: list[int] = []
        for option in options.tolist():
            run = bisect_right(self.starts, option) - 1
            moves += range(self.starts[run] if self.bundled[run] else option, option + 1)
        return self.moves.pick(np.array(moves, dtype=np.int64))


class _Run(NamedTuple):
    """One run: ``rate`` and ``first`` order the runs, members are positions of moves, one for each option."""

    rate: float
    first: int
    members: list[int]
    options: list[Option]
    bundled: bool


def gather_core(corner: Corner, moves: Moves, gap: float) -> Core:
    """Reduced-cost fixing: the moves that cost less than ``gap`` and change something, in runs."""
    kept = moves.pick((corner.cost + moves.cost < gap) & ((moves.size != 0) | (moves.cost < 0)))
    rate = np.maximum(kept.cost, 0.0) / np.maximum(np.abs(kept.size), 1)
    by_class = np.lexsort((rate, kept.klass))
    klass, size, cost, rates = (part[by_class].tolist() for part in (kept.klass, kept.size, kept.cost, rate))
    of_class: dict[int, list[int]] = {}
    for move, which in enumerate(klass):
        if which in of_class:
            of_class[which].append(move)
        else:
            of_class[which] = [move]
    alone = [(size[members[0]], cost[members[0]], members[0]) for members in of_class.values() if len(members) == 1]
    runs = _bundles(sorted(alone), rates, room=gap - corner.cost)
    for members in of_class.values():
        if len(members) > 1:
            options = [(size[move], cost[move]) for move in members]
            runs.append(_Run(rates[members[0]], members[0], members, options, bundled=False))
    runs.sort()
    order = by_class[[move for run in runs for move in run.members]] if runs else by_class[:0]
    return _in_order(kept.pick(order), runs)


def _bundles(alone: Sequence[tuple[int, float, int]], rates: Sequence[float], *, room: float) -> list[_Run]:
    """Moves as bundles of one size change, the cheapest first, without what costs all that the gap has room for.

    Args:
        alone: size change, reduced cost and position of each, sorted.
        rates: of all moves.
        room: for costs.
    """
    runs: list[_Run] = []
    members: list[int] = []
    options: list[Option] = []
    change, total = 0, 0.0
    for size, cost, move in alone:
        if not members or size != change or len(members) == LONGEST:
            change, total, members, options = size, cost, [move], [(size, cost)]
            runs.append(_Run(rates[move], move, members, options, bundled=True))
        elif (total := total + cost) < room:
            members.append(move)
            options.append((options[-1][0] + size, total))
    return runs


def _in_order(moves: Moves, runs: list[_Run]) -> Core:
    starts = list(accumulate((len(run.options) for run in runs), initial=0))
    cheapest, up, down = [inf], [inf], [inf]
    for run in reversed(runs):
        least, rises, falls = cheapest[-1], up[-1], down[-1]
        own = run.options[:1] if run.bundled and run.options[0][1] >= 0 else run.options  # more cost more, and no less a unit
        for size, cost in own:
            least = min(cost, least)
            if size > 0:
                rises = min(max(cost, 0.0) / size, rises)
            elif size < 0:
                falls = min(max(cost, 0.0) / -size, falls)
        cheapest.append(least)
        up.append(rises)
        down.append(falls)
    options = [option for run in runs for option in run.options]
    return Core(moves, options, starts, [run.bundled for run in runs], cheapest[::-1], up[::-1], down[::-1])
