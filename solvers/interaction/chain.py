"""Classes in a row: the interaction looks at neighbours only, and dynamic programming bounds and solves it exactly.

At a multiplier λ the least of ``loss + λ·size + interaction`` over all choices is one pass along the row, so that the
Lagrangian bound has no gap but that of the budget. Under it the choices are searched class by class: a state is (item of the
last class, size, excess), where the excess is what its choices lie above the bound so far. Of two states of one item the one
that is no larger and whose loss is no greater dominates; a state whose excess, with what the sizes to come cannot use of the
budget, reaches the gap of the incumbent is dropped. On sizes of a coarse unit this is never more than the table over (class,
item, units) of the textbook, and usually a small part of it.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.interaction.pairs import PairTables
from solvers.mckp.excess import Excess
from solvers.problem import Problem
from solvers.solver import Deadline

PASSES = 400  # of the search for the multiplier; 10 to 30 are usual
CLOSE = 1e-14  # relative


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Classes in the order of a row in which only neighbours interact.

    Attributes:
        order: int64 ``[N]``, the class at each place.
        tables: float64 ``[N − 1, K, K]``, between a place (rows) and the next (columns).
        pair: int64 ``[N − 1]``, which pair of the interaction this is, or −1 for none.
        turned: bool ``[N − 1]``, the pair names the later place first.
    """

    order: Integers
    tables: Floats
    pair: Integers
    turned: Integers


@dataclass(frozen=True, slots=True, eq=False)
class RowBound:
    """The Lagrangian bound of a row; all arrays by place.

    Attributes:
        multiplier: λ ≥ 0, where the bound is greatest.
        priced: float64 ``[N, K]``, ``loss + λ·(size above the smallest)``.
        ahead: float64 ``[N, K]``, least that the places behind each item can add.
        choice: int64 ``[N]``, items by place, of the least priced loss that keeps the budget.
    """

    multiplier: float
    priced: Floats
    ahead: Floats
    choice: Integers


@dataclass(frozen=True, slots=True, eq=False)
class RowFound:
    """What the search of a row ended with.

    Attributes:
        choice: int64 ``[N]``, by place; ``None`` when nothing beat the incumbent.
        gap: of the best choice known.
        finished: every choice was searched.
        states: states kept, over all places.
    """

    choice: Integers | None
    gap: float
    finished: bool
    states: int


def find_row(interaction: PairTables) -> Row | None:
    """The order in which all pairs are neighbours; ``None`` when a class has three partners or the pairs close a ring."""
    partners: list[list[tuple[int, int]]] = [[] for _ in range(interaction.classes)]
    for p, (i, j) in enumerate(interaction.pairs.tolist()):
        partners[i].append((j, p))
        partners[j].append((i, p))
    if any(len(ends) > 2 for ends in partners):
        return None
    order, pair, seen = [], [], [False] * interaction.classes
    for first in range(interaction.classes):
        if seen[first] or len(partners[first]) > 1:
            continue
        at, through = first, -1
        while at >= 0:
            seen[at] = True
            order.append(at)
            pair.append(through)
            at, through = next(((j, p) for j, p in partners[at] if not seen[j]), (-1, -1))
    if not all(seen):
        return None
    places, links = np.array(order, dtype=np.int64), np.array(pair[1:], dtype=np.int64)
    return _row_of(interaction, places, links)


def _row_of(interaction: PairTables, order: Integers, pair: Integers) -> Row:
    items = interaction.tables.shape[1]
    tables, linked = np.zeros((pair.shape[0], items, items)), pair >= 0
    turned = np.zeros(pair.shape[0], dtype=bool)
    turned[linked] = interaction.pairs[pair[linked], 0] != order[:-1][linked]
    tables[linked] = interaction.tables[pair[linked]]
    tables[turned] = tables[turned].transpose(0, 2, 1)
    return Row(order, tables, pair, turned)


def bound_row(problem: Problem, excess: Excess, row: Row, guess: float) -> RowBound:
    """The multiplier at which the Lagrangian bound is greatest, by Kelley's method in one dimension.

    Args:
        problem: losses of single classes.
        excess: its sizes above the smallest and its capacity.
        row: its interaction.
        guess: a multiplier to begin with, > 0.
    """
    loss = problem.loss[row.order]
    size = np.where(np.isfinite(loss), excess.size.T[row.order], 0.0)
    low = _priced_row(loss, size, row, 0.0)
    if _size(size, low) <= excess.capacity:
        return low
    high = _priced_row(loss, size, row, guess)
    while _size(size, high) > excess.capacity:
        low, high = high, _priced_row(loss, size, row, 4.0 * high.multiplier)
    for _ in range(PASSES):
        fall = _size(size, low) - _size(size, high)
        rise = _loss(loss, row, high) - _loss(loss, row, low)
        middle = rise / fall if fall > 0 else 0.0
        if not low.multiplier < middle < high.multiplier:
            break
        looked = _priced_row(loss, size, row, middle)
        reached = _loss(loss, row, looked) + middle * _size(size, looked)
        tangents = _loss(loss, row, high) + middle * _size(size, high)
        if _size(size, looked) <= excess.capacity:
            high = looked
        else:
            low = looked
        if reached >= tangents - CLOSE * abs(tangents):
            if low is looked:  # the tie is broken towards the budget
                high = RowBound(middle, looked.priced, looked.ahead, high.choice)
            break
    return high


def _priced_row(loss: Floats, size: Floats, row: Row, multiplier: float) -> RowBound:
    """One pass back along the row, and the choice that it finds."""
    priced = loss + multiplier * size
    ahead = np.zeros(priced.shape)
    for j in range(priced.shape[0] - 2, -1, -1):
        ahead[j] = (row.tables[j] + (priced[j + 1] + ahead[j + 1])).min(axis=1)
    choice = np.empty(priced.shape[0], dtype=np.int64)
    choice[0] = (priced[0] + ahead[0]).argmin()
    behind = priced + ahead
    for j in range(1, priced.shape[0]):
        choice[j] = (row.tables[j - 1, choice[j - 1]] + behind[j]).argmin()
    return RowBound(multiplier, priced, ahead, choice)


def _size(size: Floats, bound: RowBound) -> float:
    return float(size[np.arange(size.shape[0]), bound.choice].sum())


def _loss(loss: Floats, row: Row, bound: RowBound) -> float:
    places, choice = np.arange(loss.shape[0]), bound.choice
    return float(loss[places, choice].sum() + row.tables[places[:-1], choice[:-1], choice[1:]].sum())


def messages_of(row: Row, bound: RowBound, interaction: PairTables) -> Floats:
    """The certificate: each place hands all that it has to the pair before it, and that pair what it costs to its first place.

    A place that follows without a pair keeps what it has. Where an item is not allowed its message is a number that is large.
    """
    count, items = interaction.tables.shape[:2]
    messages = np.zeros((count, 2, items))
    behind = bound.priced + bound.ahead
    finite = np.isfinite(behind)
    largest = np.abs(np.where(finite, behind, 0.0)).max(initial=0.0) + np.abs(row.tables).max(initial=0.0)
    behind = np.where(finite, behind, 2.0 * largest)
    places = np.flatnonzero(row.pair >= 0)
    pair, side = row.pair[places], row.turned[places].astype(np.int64)
    messages[pair, side] = bound.ahead[places]
    messages[pair, 1 - side] = -behind[places + 1]
    return messages


def search_row(
    excess: Excess, row: Row, bound: RowBound, gap: float, *, max_states: int, deadline: Deadline, width: int | None = None
) -> RowFound:
    """Find the best choice whose loss lies less than ``gap`` above the bound, and prove it unless a limit ends the search.

    Args:
        excess: sizes above the smallest, and the capacity.
        row: the interaction.
        bound: where its Lagrangian bound is greatest.
        gap: of the incumbent; only a smaller one counts.
        max_states: states to keep over all places before giving up.
        deadline: looked at before each place.
        width: keep no more states than this at a place, those of least excess: a quick search for a better incumbent.
    """
    search = _Search(excess, row, bound, gap)
    for place in range(row.order.shape[0]):
        if search.kept > max_states or deadline.passed():
            return RowFound(None, gap, finished=False, states=search.kept)
        search.extend(place, width)
        if search.size.shape[0] == 0:
            break
    choice, reached = search.best()
    return RowFound(choice, min(gap, reached), finished=not search.cut, states=search.kept)


class _Search:
    """The states of the place last looked at, and where they came from."""

    def __init__(self, excess: Excess, row: Row, bound: RowBound, gap: float) -> None:
        self.row, self.bound, self.gap = row, bound, gap
        self.capacity, self.price = excess.capacity, bound.multiplier
        finite = np.isfinite(bound.priced)
        own = (excess.whole - excess.smallest[:, None])[row.order]
        self.own = np.where(finite, own, 0)
        largest = np.where(finite, own, 0).max(axis=1)
        self.most = np.append(np.cumsum(largest[::-1])[::-1], 0)[1:]  # that the places to come can add
        self.size, self.excess, self.item = np.zeros(1, dtype=np.int64), np.zeros(1), np.zeros(1, dtype=np.int64)
        self.origins: list[Integers] = []
        self.items: list[Integers] = []
        self.kept, self.cut = 0, False

    def extend(self, place: int, width: int | None) -> None:
        """All states of one place more that may still matter, by item and size."""
        behind = self.bound.priced[place] + self.bound.ahead[place]
        if place == 0:
            step = (behind - behind.min())[None, :]
        else:
            step = self.row.tables[place - 1] + behind
            step = (step - step.min(axis=1, keepdims=True))[self.item]
        excess = self.excess[:, None] + step
        size = self.size[:, None] + self.own[place]
        short = np.maximum(self.capacity - int(self.most[place]) - size, 0)
        parent, item = np.nonzero((excess + self.price * short < self.gap) & (size <= self.capacity))
        size, excess = size[parent, item], excess[parent, item]
        order = np.lexsort((excess, size, item))
        size, excess, item, parent = size[order], excess[order], item[order], parent[order]
        kept = _undominated(item, excess - self.price * size)
        if width is not None and kept.shape[0] > width:
            self.cut = True
            kept = np.sort(kept[np.argpartition(excess[kept], width)[:width]])
        self.size, self.excess, self.item = size[kept], excess[kept], item[kept]
        self.origins.append(parent[kept])
        self.items.append(self.item)
        self.kept += self.size.shape[0]

    def best(self) -> tuple[Integers | None, float]:
        """The items, by place, of the least final state below the gap, and its gap."""
        final = self.excess + self.price * (self.capacity - self.size)
        if final.size == 0 or not final.min() < self.gap:
            return None, self.gap
        state = int(final.argmin())
        reached = float(final[state])
        choice = np.empty(len(self.items), dtype=np.int64)
        for place in range(len(self.items) - 1, -1, -1):
            choice[place] = self.items[place][state]
            state = int(self.origins[place][state])
        return choice, reached


def _undominated(item: Integers, loss: Floats) -> Integers:
    """Of states sorted by item and size, those with less loss than all smaller states of their item."""
    kept = np.ones(item.shape[0], dtype=bool)
    borders = np.flatnonzero(np.diff(item, prepend=-1, append=-1)).tolist()
    for start, end in pairwise(borders):
        run = loss[start:end]
        kept[start + 1 : end] = run[1:] < np.minimum.accumulate(run)[:-1]
    found: Integers = np.flatnonzero(kept)
    return found
