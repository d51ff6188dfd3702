"""A certified bound under pair tables of any sign and any graph: sequential reweighted message passing.

A message moves loss between a pair and one of its classes without changing any total; the bound is what is left when every
class and every pair takes its own least, and messages are passed so that it never falls. A pass takes the classes in order:
each collects what its pairs can give, and shares all that it has among the pairs to later classes (TRW-S; Kolmogorov 2006,
in the form of SRMP, Kolmogorov 2015). Classes of one colour have no pair between them and are passed together.
"""

import math
from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.interaction.additive import AdditivePart
from solvers.interaction.bound import InteractionBound
from solvers.interaction.pairs import PairTables
from solvers.solver import Deadline

SWEEPS = 3  # at each multiplier that is tried
RISE = 1e-6  # relative: ten sweeps that raise the bound by less are the last


@dataclass(frozen=True, slots=True, eq=False)
class _Colour:
    """Classes that are passed together, and their ends of pairs.

    Attributes:
        classes: int64 ``[C]``.
        ends: slice of all ends, class by class.
        starts: int64 ``[C]``, where each class begins within the slice.
        owner: int64 ``[E]``, the place of the class of each end within ``classes``.
        share: float64 ``[2, E, 1]``, of what the class has, going forward and going back.
    """

    classes: Integers
    ends: slice
    starts: Integers
    owner: Integers
    share: Floats


class Messages:
    """Messages of all pairs at both ends, and the passes that improve them."""

    def __init__(self, interaction: PairTables) -> None:
        rank = _colour(interaction)
        count, items = interaction.tables.shape[:2]
        klass = interaction.pairs.T.reshape(-1)  # first ends, then second ends
        order = np.lexsort((klass, rank[klass]))
        place = np.empty(2 * count, dtype=np.int64)
        place[order] = np.arange(2 * count)
        self.first, self.second = place[:count], place[count:]
        self.twin = np.concatenate((place[count:], place[:count]))[order]
        turned = interaction.tables.transpose(0, 2, 1)
        self.tables = np.concatenate((interaction.tables, turned))[order]
        self.sent = np.zeros((2 * count, items))
        self.classes = interaction.classes
        self.colours = _group(klass[order], rank, self.twin)
        self.alone = np.setdiff1d(np.arange(interaction.classes), interaction.pairs.reshape(-1))

    def sweep(self, losses: Floats) -> Integers:
        """One pass forward and one back; the item that each class prefers, int64 ``[N]``."""
        choice = np.empty(self.classes, dtype=np.int64)
        choice[self.alone] = losses[self.alone].argmin(axis=1)
        for direction, colours in ((0, self.colours), (1, self.colours[::-1])):
            for colour in colours:
                self._pass(colour, losses, choice, direction)
        return choice

    def _pass(self, colour: _Colour, losses: Floats, choice: Integers, direction: int) -> None:
        ends = colour.ends
        given = (self.tables[ends] - self.sent[self.twin[ends], None, :]).min(axis=2)
        held = losses[colour.classes] + np.add.reduceat(given, colour.starts, axis=0)
        choice[colour.classes] = held.argmin(axis=1)
        self.sent[ends] = given - colour.share[direction] * held[colour.owner]

    def certificate(self) -> Floats:
        """float64 ``[P, 2, K]``, as ``PairTables.minorant`` reads it."""
        return np.stack((self.sent[self.first], self.sent[self.second]), axis=1)


def bound_pairs(
    part: AdditivePart, interaction: PairTables, choice: Integers, *, max_sweeps: int, deadline: Deadline
) -> InteractionBound:
    """The greatest bound found over multipliers and messages.

    With one budget the multiplier is bracketed by the sizes that the classes prefer; with more it stays where the linear
    relaxation at the incumbent's conditional losses puts it. The messages are then passed until the bound stops rising.

    Args:
        part: losses, sizes and budgets.
        interaction: the pairs.
        choice: int64 ``[N]``, an incumbent.
        max_sweeps: most sweeps at the last multiplier.
        deadline: looked at before each sweep but the first.
    """
    ascent = _Ascent(part, interaction)
    conditional = part.problem.loss + interaction.flips(choice)
    over = ascent.look(part.bound(conditional).multipliers, SWEEPS)
    if part.excess is not None and (over > 0 or ascent.best.multipliers[0] > 0):
        ascent.bracket(part.multiplier_above_zero(conditional), deadline)
    before = ascent.best.value
    for sweep in range(max_sweeps):
        if deadline.passed():
            break
        ascent.look(ascent.best.multipliers, 1)
        if sweep % 10 == 9:
            if ascent.best.value - before <= RISE * abs(ascent.best.value):
                break
            before = ascent.best.value
    return ascent.best


class _Ascent:
    """Messages, and the best bound that they have given."""

    def __init__(self, part: AdditivePart, interaction: PairTables) -> None:
        self.part, self.interaction = part, interaction
        self.messages = Messages(interaction)
        self.best = InteractionBound(-math.inf, np.zeros(part.problem.budgets.shape), None)
        allowed = part.problem.allowed()
        largest = np.where(allowed, np.abs(part.problem.loss), 0.0).max(axis=1).sum()
        self.forbidding = 4.0 * float(largest + np.abs(interaction.tables).sum())

    def look(self, multipliers: Floats, sweeps: int) -> float:
        """Sweep at these multipliers and keep the bound if it is the best; the overdraft of the first budget."""
        part = self.part
        priced = part.priced(part.problem.loss, multipliers)
        finite = np.isfinite(priced)
        priced = np.where(finite, priced, float(np.abs(np.where(finite, priced, 0.0)).sum(axis=0).max()) + self.forbidding)
        for _ in range(sweeps):
            choice = self.messages.sweep(priced)
        certificate = self.messages.certificate()
        below = self.interaction.minorant(certificate)
        value = part.value(part.problem.loss + below.loss, multipliers) + below.constant
        if value > self.best.value:
            self.best = InteractionBound(value, multipliers, certificate)
        sizes = part.problem.sizes[0, np.arange(choice.shape[0]), choice]
        return float(sizes[part.problem.allowed()[np.arange(choice.shape[0]), choice]].sum()) - float(part.budgets[0])

    def bracket(self, start: float, deadline: Deadline) -> None:
        """Halve an interval of multipliers, by ratio, that holds the one at which the budget is just kept."""
        low, high, at = 0.0, math.inf, start
        for _ in range(24):
            if deadline.passed() or high <= low * 1.0005:
                break
            over = self.look(np.array([at]), SWEEPS)
            low, high = (at, high) if over > 0 else (low, at)
            at = math.sqrt(low) * math.sqrt(high) if 0 < low < high < math.inf else 2.0 * at if low > 0 else 0.5 * at


def _colour(interaction: PairTables) -> Integers:
    """A number for each class, different for the two of a pair: the least that its earlier partners leave free."""
    earlier: list[set[int]] = [set() for _ in range(interaction.classes)]
    rank = np.zeros(interaction.classes, dtype=np.int64)
    order = np.lexsort((interaction.pairs[:, 1], interaction.pairs[:, 0]))
    ends = interaction.pairs[order].tolist()
    position = 0
    for i in range(interaction.classes):
        taken, number = earlier[i], 0
        while number in taken:
            number += 1
        rank[i] = number
        while position < len(ends) and ends[position][0] == i:
            earlier[ends[position][1]].add(number)
            position += 1
    return rank


def _group(klass: Integers, rank: Integers, twin: Integers) -> list[_Colour]:
    """The colours in order, from the class of every end, ends sorted by colour and class."""
    later = rank[klass[twin]] > rank[klass]
    forward = np.bincount(klass, weights=later, minlength=rank.shape[0])
    back = np.bincount(klass, weights=~later, minlength=rank.shape[0])
    share = 1.0 / np.maximum(np.maximum(forward, back), 1.0)[klass]
    shares = np.stack((share * later, share * ~later))[:, :, None]
    colours, borders = [], np.flatnonzero(np.diff(rank[klass], prepend=-1, append=-1))
    for start, end in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
        classes, starts, owner = np.unique(klass[start:end], return_index=True, return_inverse=True)
        colours.append(_Colour(classes, slice(start, end), starts, owner, shares[:, start:end]))
    return colours
