"""The core: the moves that may be part of a better choice, in runs of which a choice takes one option or none.

A run is a class with its moves, or a bundle: of classes that have one move each, all of one size change, a choice takes some
number, and none does better than with the cheapest of them. So the options of a bundle are its cheapest move, its two cheapest,
and so on. Models have few shapes and formats, so that nine in ten classes of a core are in some bundle.
"""

from collections.abc import Iterator
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
        moves: all of them.
        classes: how many classes they are of.
        options: of all runs.
        parts: which moves each option is made of.
        starts: where the options of each run begin, and the end.
        cheapest: least cost of an option of this run and those after it; ``inf`` at the end.
        up: least cost per unit of an option that adds size, from this run on.
        down: least cost per unit of an option that gives size back, from this run on.
    """

    moves: Moves
    classes: int
    options: list[Option]
    parts: list[range]
    starts: list[int]
    cheapest: list[float]
    up: list[float]
    down: list[float]

    @property
    def count(self) -> int:
        """How many runs there are."""
        return len(self.starts) - 1

    def runs(self) -> Iterator[tuple[int, list[Option]]]:
        """Number of the first option, and the options, of each run."""
        return ((start, self.options[start:end]) for start, end in pairwise(self.starts))

    def made_by(self, options: Integers) -> Moves:
        """The moves of options of different runs."""
        return self.moves.pick(np.array([move for option in options.tolist() for move in self.parts[option]], dtype=np.int64))


class _Run(NamedTuple):
    """Members are positions of moves; ``rate`` and ``first`` order the runs.

    In a bundle option n is made of the first n members, in a class of the n-th.
    """

    rate: float
    first: int
    members: list[int]
    options: list[Option]
    is_bundle: bool


def gather_core(corner: Corner, moves: Moves, gap: float) -> Core:
    """Reduced-cost fixing: the moves that cost less than ``gap`` and change something, in runs."""
    kept = moves.pick((corner.cost + moves.cost < gap) & ((moves.size != 0) | (moves.cost < 0)))
    rate = np.maximum(kept.cost, 0.0) / np.maximum(np.abs(kept.size), 1)
    by_class = np.lexsort((rate, kept.klass))
    rates, size, cost = rate[by_class].tolist(), kept.size[by_class].tolist(), kept.cost[by_class].tolist()
    of_class: dict[int, list[int]] = {}
    for move, klass in enumerate(kept.klass[by_class].tolist()):
        of_class.setdefault(klass, []).append(move)
    alike: dict[int, list[int]] = {}
    runs: list[_Run] = []
    for members in of_class.values():
        first = members[0]
        if len(members) == 1:
            alike.setdefault(size[first], []).append(first)
        else:
            runs.append(_Run(rates[first], first, members, [(size[move], cost[move]) for move in members], is_bundle=False))
    for members in alike.values():
        runs += _bundles(members, rates, size, cost, room=gap - corner.cost)
    runs.sort()
    order = by_class[[move for run in runs for move in run.members]] if runs else by_class[:0]
    return _in_order(kept.pick(order), runs)


def _bundles(members: list[int], rates: list[float], size: list[int], cost: list[float], *, room: float) -> Iterator[_Run]:
    """Moves of one size change as bundles, the cheapest first, without what costs all that the gap has room for."""
    members.sort(key=cost.__getitem__)
    for start in range(0, len(members), LONGEST):
        part = members[start : start + LONGEST]
        totals = list(accumulate(cost[move] for move in part))
        useful = max(1, sum(total < room for total in totals))
        change = size[part[0]]
        options = [(change * number, total) for number, total in enumerate(totals[:useful], 1)]
        yield _Run(rates[part[0]], part[0], part[:useful], options, is_bundle=True)


def _in_order(moves: Moves, runs: list[_Run]) -> Core:
    options: list[Option] = []
    parts: list[range] = []
    starts = [0]
    for run in runs:
        start = starts[-1]  # an option for each move
        ends = range(start + 1, start + len(run.members) + 1)
        parts += [range(start if run.is_bundle else end - 1, end) for end in ends]
        options += run.options
        starts.append(ends.stop - 1)
    classes = sum(len(run.members) if run.is_bundle else 1 for run in runs)
    return Core(moves, classes, options, parts, starts, *_suffixes(runs))


def _suffixes(runs: list[_Run]) -> tuple[list[float], list[float], list[float]]:
    """``cheapest``, ``up`` and ``down`` of a core."""
    cheapest, up, down = [inf], [inf], [inf]
    for run in reversed(runs):
        least, rises, falls = cheapest[-1], up[-1], down[-1]
        for size, cost in run.options:
            least = min(least, cost)
            if size > 0:
                rises = min(rises, max(cost, 0.0) / size)
            elif size < 0:
                falls = min(falls, max(cost, 0.0) / -size)
        cheapest.append(least)
        up.append(rises)
        down.append(falls)
    return cheapest[::-1], up[::-1], down[::-1]
