"""Tables of single pairs of classes, of any sign: interactions within blocks, along a chain, or measured pair by pair."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import Floats, Integers
from solvers.errors import ProblemError
from solvers.interaction.quadratic import AbstractQuadratic
from solvers.interactions import Minorant

CELLS = 1 << 22  # numbers gathered at a time


@dataclass(frozen=True, slots=True, eq=False)
class PairTables(AbstractQuadratic):
    """``Σ_p tables[p, x_i, x_j]`` with ``(i, j) = pairs[p]``.

    Attributes:
        pairs: int64 ``[P, 2]``, the smaller class first, no pair twice; ``merged`` makes such pairs of any others.
        tables: float64 ``[P, K, K]``, any sign; also finite where an item is not allowed (its value is never used).
        classes: N, of the whole problem.
    """

    pairs: Integers
    tables: Floats
    classes: int

    def __post_init__(self) -> None:
        for name, numbers in (("pairs", _whole(self.pairs)), ("tables", np.array(self.tables, dtype=np.float64))):
            numbers.setflags(write=False)
            object.__setattr__(self, name, numbers)

    @classmethod
    def merged(cls, pairs: ArrayLike, tables: ArrayLike, classes: int) -> "PairTables":
        """Of pairs in any order: the smaller class comes first, and tables of the same pair are added.

        Args:
            pairs: whole numbers ``[P, 2]``, two different classes each.
            tables: ``[P, K, K]``, rows for the first class of its pair.
            classes: N.

        Raises:
            ProblemError: pairs that are no list of two whole numbers each, or not as many tables.
        """
        ends, values = _whole(pairs), np.array(tables, dtype=np.float64)
        if ends.ndim != 2 or ends.shape[1] != 2 or values.ndim != 3 or values.shape[0] != ends.shape[0]:
            msg = f"pairs of shape {ends.shape} and tables of shape {values.shape}; (P, 2) and (P, K, K) are needed"
            raise ProblemError(msg)
        turned = ends[:, 0] > ends[:, 1]
        values[turned] = values[turned].transpose(0, 2, 1)
        unique, place = np.unique(np.sort(ends, axis=1), axis=0, return_inverse=True)
        sums = np.zeros((unique.shape[0], *values.shape[1:]))
        np.add.at(sums, place.reshape(-1), values)
        return cls(unique, sums, classes)

    @classmethod
    def from_matrix(cls, matrix: Floats, items: int) -> "PairTables":
        """Of a quadratic form ``½·αᵀGα`` over one-hot choices α (CLADO, arXiv 2307.05657), what lies between classes.

        A pair has ``(G_ij + G_jiᵀ)/2``; pairs of zeros are left out. The diagonal blocks are not in it: half of the diagonal
        of G, as ``[N, K]``, belongs to ``Problem.loss``.

        Args:
            matrix: float64 ``[N·K, N·K]``, the items of a class side by side.
            items: K.

        Raises:
            ProblemError: a matrix of another shape.
        """
        classes = matrix.shape[0] // items
        if matrix.shape != (classes * items, classes * items):
            msg = f"the matrix has shape {matrix.shape}; with {items} items a class both sides must be one multiple of {items}"
            raise ProblemError(msg)
        blocks = matrix.reshape(classes, items, classes, items).transpose(0, 2, 1, 3)
        first, second = np.triu_indices(classes, 1)
        tables = (blocks[first, second] + blocks[second, first].transpose(0, 2, 1)) / 2
        kept = tables.any(axis=(1, 2))
        return cls(np.stack((first[kept], second[kept]), axis=1), tables[kept], classes)

    @property
    def is_zero(self) -> bool:
        """Every entry is zero."""
        return not bool(self.tables.any())

    def check(self, classes: int, items: int) -> None:
        """Shapes, finite numbers, pairs of two classes of the problem in order.

        Raises:
            ProblemError: with what is wrong.
        """
        count = self.pairs.shape[0]
        if self.classes != classes:
            msg = f"the interaction is between {self.classes} classes and the problem has {classes}"
            raise ProblemError(msg)
        if self.pairs.shape != (count, 2) or self.tables.shape != (count, items, items):
            msg = (
                f"the interaction has pairs of shape {self.pairs.shape} and tables of shape {self.tables.shape}; "
                f"(pairs, 2) and (pairs, {items}, {items}) are needed"
            )
            raise ProblemError(msg)
        if count and not ((self.pairs >= 0).all() and (self.pairs < classes).all()):
            msg = f"a pair names a class outside 0..{classes - 1}"
            raise ProblemError(msg)
        if not (self.pairs[:, 0] < self.pairs[:, 1]).all() or np.unique(self.pairs, axis=0).shape[0] != count:
            msg = "every pair names the smaller class first and comes once; make such pairs with PairTables.merged"
            raise ProblemError(msg)
        with np.errstate(over="ignore"):
            total = float(np.abs(self.tables).max(axis=(1, 2), initial=0.0).sum()) if count else 0.0
        if not total < np.finfo(np.float64).max / 16:
            msg = "the tables of the interaction must be finite and their sum within float64"
            raise ProblemError(msg)

    def values(self, choices: Integers) -> Floats:
        """The interaction of each of M choices, int64 ``[M, N]`` to float64 ``[M]``."""
        count, values = self.pairs.shape[0], np.empty(choices.shape[0])
        step = max(CELLS // max(count, 1), 1)
        for start in range(0, choices.shape[0], step):
            block = choices[start : start + step]
            at = self.tables[np.arange(count), block[:, self.pairs[:, 0]], block[:, self.pairs[:, 1]]]
            values[start : start + step] = at.sum(axis=1)
        return values

    def minorant(self, certificate: Floats | None) -> Minorant:
        """Messages ``a, b`` of every pair: its table is at least ``a[k] + b[l] + min(table − a − b)``, whatever they are.

        Args:
            certificate: float64 ``[P, 2, K]``, for the first and the second class of each pair; ``None`` stands for zeros.

        Raises:
            ValueError: another shape, or numbers that are not finite.
        """
        count, items = self.tables.shape[:2]
        messages = np.zeros((count, 2, items)) if certificate is None else certificate
        if messages.shape != (count, 2, items) or not np.isfinite(messages).all():
            msg = f"messages of shape {messages.shape} are no finite numbers of shape {(count, 2, items)}"
            raise ValueError(msg)
        loss = np.zeros((self.classes, items))
        with np.errstate(over="ignore", invalid="ignore"):
            rest = self.tables - messages[:, 0, :, None] - messages[:, 1, None, :]
            np.add.at(loss, self.pairs.reshape(-1), messages.reshape(-1, items))
            constant = float(rest.min(axis=(1, 2)).sum()) if count else 0.0
        if not (np.isfinite(constant) and np.isfinite(loss).all()):
            msg = "the messages are so large that their sums pass float64"
            raise ValueError(msg)
        return Minorant(loss, constant)

    def flips(self, choice: Integers) -> Floats:
        """Change of the interaction when class i alone takes item k instead, float64 ``[N, K]``."""
        first, second, every = self.pairs[:, 0], self.pairs[:, 1], np.arange(self.pairs.shape[0])
        along, across = self.tables[every, :, choice[second]], self.tables[every, choice[first]]
        now = self.tables[every, choice[first], choice[second]][:, None]
        flips = np.zeros((self.classes, self.tables.shape[1]))
        np.add.at(flips, first, along - now)
        np.add.at(flips, second, across - now)
        return flips

    def heights(self, certificate: Floats | None) -> Floats:
        """Of every class and item, what the tables of its pairs, less their messages, have at least above their least entry."""
        rest = self.tables if certificate is None else self.tables - certificate[:, 0, :, None] - certificate[:, 1, None, :]
        heights = np.zeros((self.classes, self.tables.shape[1]))
        least = rest.min(axis=(1, 2), initial=np.inf)[:, None]
        np.add.at(heights, self.pairs[:, 0], rest.min(axis=2) - least)
        np.add.at(heights, self.pairs[:, 1], rest.min(axis=1) - least)
        return heights

    def crossings(self, choice: Integers, klass: Integers, item: Integers) -> Floats:
        """``T[k, l] − T[k, x_j] − T[x_i, l] + T[x_i, x_j]`` where the classes of two moves are a pair, float64 ``[M, M]``."""
        moved, row = np.unique(klass, return_inverse=True)
        position = np.full(self.classes, -1, dtype=np.int64)
        position[moved] = np.arange(moved.shape[0])
        ends = position[self.pairs]
        inside = np.flatnonzero((ends >= 0).all(axis=1))
        place = np.full((moved.shape[0], moved.shape[0]), -1, dtype=np.int64)
        place[ends[inside, 0], ends[inside, 1]] = inside
        between = place[np.ix_(row, row)]
        m, n = np.nonzero(between >= 0)
        pair = between[m, n]
        one, other, own, owned = item[m], item[n], choice[klass[m]], choice[klass[n]]
        crossings = np.zeros((klass.shape[0], klass.shape[0]))
        table = self.tables
        crossings[m, n] = table[pair, one, other] - table[pair, one, owned] - table[pair, own, other] + table[pair, own, owned]
        return crossings + crossings.T


def _whole(pairs: ArrayLike) -> Integers:
    """A copy as int64."""
    numbers = np.array(pairs)
    if numbers.size and numbers.dtype.kind not in "iu":
        msg = f"the pairs of an interaction name classes by whole numbers, not by {numbers.dtype}"
        raise ProblemError(msg)
    return numbers.astype(np.int64)
