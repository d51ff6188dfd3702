"""What a choice must keep besides its budgets."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Integers
from solvers.errors import ProblemError


@dataclass(frozen=True, slots=True, eq=False)
class LinearRow:
    """``Σ_i coefficients[i, x_i] + Σ_h helpers[h]·y_h ≤ bound`` with 0/1 helpers y that all rows of one rule share.

    Every choice that keeps the rule has helpers with which all of its rows hold.

    Attributes:
        coefficients: int64 ``[T, K]``, any sign: of the classes that the row looks at.
        bound: whole number.
        classes: int64 ``[T]``, these classes, each once; ``None`` says that T = N and the row looks at all.
        helpers: int64 ``[H]``, any sign, the same H in all rows of a rule; ``None`` without helpers.
    """

    coefficients: Integers
    bound: int
    classes: Integers | None = None
    helpers: Integers | None = None


class AbstractSideRule(ABC):
    """A rule over the choice as a whole, in classes and items. Budgets are no rules: they are rows of ``Problem.sizes``."""

    __slots__ = ()

    @abstractmethod
    def check(self, classes: int, items: int) -> None:
        """Refuse a rule that names a class or an item outside a problem of this shape.

        Raises:
            ProblemError: with what is wrong.
        """

    @abstractmethod
    def broken_by(self, choice: Integers) -> str | None:
        """How a choice (int64 ``[N]``) breaks the rule, in one sentence; ``None`` when it keeps it."""

    @abstractmethod
    def rows(self, classes: int, items: int) -> list[LinearRow]:
        """Linear rows that every choice keeping the rule keeps; priced with multipliers they sharpen the bound.

        The rules of this module give rows that say the rule completely: a choice keeps it exactly if helpers exist with which
        all rows hold. Another may give weaker ones, or none; a solver then learns what is wrong only from ``broken_by``.
        """


@dataclass(frozen=True, slots=True, eq=False)
class CountRule(AbstractSideRule):
    """At least and at most so many classes take an item that a mask marks: "at most 20 layers above 6 bits".

    Attributes:
        mask: bool ``[N, K]``, the marked cells.
        at_most: no more classes than this, or ``None``.
        at_least: no fewer classes than this, or ``None``.

    Raises:
        ProblemError: neither limit is given, one is no whole number, or the mask is no table.
    """

    mask: NDArray[np.bool_]
    at_most: int | None = None
    at_least: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", _private_mask(self.mask))
        _check_whole(limit for limit in (self.at_most, self.at_least) if limit is not None)
        if self.at_most is None and self.at_least is None:
            msg = "a count rule without a limit says nothing; give at_most, at_least or both"
            raise ProblemError(msg)

    def check(self, classes: int, items: int) -> None:
        """Refuses a mask of another shape."""
        _check_mask(self.mask, classes, items)

    def broken_by(self, choice: Integers) -> str | None:
        """The count, where it is outside the limits."""
        count = int(self.mask[np.arange(choice.shape[0]), choice].sum())
        if self.at_most is not None and count > self.at_most:
            return f"{count} classes take marked items, more than {self.at_most}"
        if self.at_least is not None and count < self.at_least:
            return f"{count} classes take marked items, fewer than {self.at_least}"
        return None

    def rows(self, classes: int, items: int) -> list[LinearRow]:
        """One row a limit, over the classes that have a marked cell."""
        touched = np.flatnonzero(self.mask.any(axis=1))
        marked = self.mask[touched].astype(np.int64)
        rows = [] if self.at_most is None else [LinearRow(marked, self.at_most, touched)]
        return rows if self.at_least is None else [*rows, LinearRow(-marked, -self.at_least, touched)]


@dataclass(frozen=True, slots=True)
class ImplicationRule(AbstractSideRule):
    """If one class takes one of some items, another must take one of some items.

    Attributes:
        if_class: the class that is looked at.
        takes: its items that oblige the other class.
        then_class: the class that is obliged; it may be the same.
        must_take: the items that it may then take; none forbids ``takes``.
    """

    if_class: int
    takes: tuple[int, ...]
    then_class: int
    must_take: tuple[int, ...]

    def check(self, classes: int, items: int) -> None:
        """Refuses a class or an item that does not exist."""
        _check_numbers((self.if_class, self.then_class), classes, "class")
        _check_numbers((*self.takes, *self.must_take), items, "item")

    def broken_by(self, choice: Integers) -> str | None:
        """Both items, where the second is not what the first asks for."""
        first, second = int(choice[self.if_class]), int(choice[self.then_class])
        if first not in self.takes or second in self.must_take:
            return None
        return (
            f"class {self.if_class} takes item {first}, so that class {self.then_class} must take one of "
            f"{list(self.must_take)}; it takes {second}"
        )

    def rows(self, classes: int, items: int) -> list[LinearRow]:
        """``Σ_a x[if_class, a] − Σ_b x[then_class, b] ≤ 0``."""
        touched = np.unique([self.if_class, self.then_class])
        coefficients = np.zeros((touched.shape[0], items), dtype=np.int64)
        coefficients[int(np.searchsorted(touched, self.if_class)), sorted(set(self.takes))] += 1
        coefficients[int(np.searchsorted(touched, self.then_class)), sorted(set(self.must_take))] -= 1
        return [LinearRow(coefficients, 0, touched)]


@dataclass(frozen=True, slots=True, eq=False)
class ContiguousRule(AbstractSideRule):
    """Of an ordered list of classes, those that take a marked item stand side by side: one unbroken run, or none.

    Attributes:
        order: the classes, each once, in the order in which the run is looked for.
        mask: bool ``[N, K]``, the marked cells.
    """

    order: tuple[int, ...]
    mask: NDArray[np.bool_]

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", tuple(int(i) for i in self.order))
        object.__setattr__(self, "mask", _private_mask(self.mask))

    def check(self, classes: int, items: int) -> None:
        """Refuses a mask of another shape, and classes that do not exist or come twice."""
        _check_mask(self.mask, classes, items)
        _check_numbers(self.order, classes, "class")
        if len(set(self.order)) < len(self.order):
            msg = "the order of a contiguous rule names a class twice; name each once"
            raise ProblemError(msg)

    def broken_by(self, choice: Integers) -> str | None:
        """Where the second run begins."""
        order = np.array(self.order, dtype=np.int64)
        marked = self.mask[order, choice[order]].astype(np.int64)
        begins = np.flatnonzero(np.diff(marked, prepend=0) == 1)
        if begins.shape[0] < 2:
            return None
        return f"the classes with marked items make {begins.shape[0]} runs; the second begins at class {order[begins[1]]}"

    def rows(self, classes: int, items: int) -> list[LinearRow]:
        """A helper for each place where a run may begin, and one run at most: the convex hull of the unbroken runs.

        ``marked_t − marked_{t−1} − begins_t ≤ 0`` and ``Σ_t begins_t ≤ 1``: with the ends of runs as slacks these are the rows
        of a path in a network, so that the corners of the relaxation are whole.
        """
        count = len(self.order)
        rows = []
        for t, i in enumerate(self.order):
            touched = np.array([i] if t == 0 else [self.order[t - 1], i], dtype=np.int64)
            coefficients = self.mask[touched].astype(np.int64)
            coefficients[:-1] *= -1
            helpers = np.zeros(count, dtype=np.int64)
            helpers[t] = -1
            rows.append(LinearRow(coefficients, 0, touched, helpers))
        nobody = np.empty(0, dtype=np.int64)
        rows.append(LinearRow(np.empty((0, items), dtype=np.int64), 1, nobody, np.ones(count, dtype=np.int64)))
        return rows


@dataclass(frozen=True, slots=True, eq=False)
class DistanceRule(AbstractSideRule):
    """The choice differs from a given one in at least so many classes (with 1 a no-good cut).

    Attributes:
        choice: int64 ``[N]``, the item of each class to differ from.
        at_least: the number of classes that must differ; more than N cannot be kept.
    """

    choice: Integers
    at_least: int = 1

    def __post_init__(self) -> None:
        _check_whole([self.at_least])
        choice = np.array(self.choice)
        if choice.ndim != 1 or (choice.size and choice.dtype.kind not in "iu"):
            msg = f"a distance is kept from a choice, one whole number a class; got shape {choice.shape}, dtype {choice.dtype}"
            raise ProblemError(msg)
        choice = choice.astype(np.int64)
        choice.setflags(write=False)
        object.__setattr__(self, "choice", choice)

    def check(self, classes: int, items: int) -> None:
        """Refuses a choice of another length and items that do not exist."""
        if self.choice.shape[0] != classes:
            msg = f"the choice to differ from has {self.choice.shape[0]} classes and the problem {classes}"
            raise ProblemError(msg)
        _check_numbers(self.choice.tolist(), items, "item")

    def broken_by(self, choice: Integers) -> str | None:
        """The distance, where it is too small."""
        distance = int((choice != self.choice).sum())
        if distance >= self.at_least:
            return None
        return f"the choice differs in {distance} classes from one that it must differ from in {self.at_least}"

    def rows(self, classes: int, items: int) -> list[LinearRow]:
        """``Σ_i x[i, choice_i] ≤ N − at_least``."""
        coefficients = np.zeros((classes, items), dtype=np.int64)
        coefficients[np.arange(classes), self.choice] = 1
        return [LinearRow(coefficients, classes - self.at_least)]


def _private_mask(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    own = np.array(mask)
    if own.ndim != 2 or own.dtype != np.bool_:
        msg = f"a mask marks cells with True in a table of shape (N, K); got shape {own.shape}, dtype {own.dtype}"
        raise ProblemError(msg)
    own.setflags(write=False)
    return own


def _check_mask(mask: NDArray[np.bool_], classes: int, items: int) -> None:
    if mask.shape != (classes, items):
        msg = f"the mask of a rule has shape {mask.shape}; the problem has {(classes, items)} = (classes, items)"
        raise ProblemError(msg)


def _check_whole(numbers: Iterable[object]) -> None:
    for number in numbers:
        if not isinstance(number, int | np.integer):
            msg = f"a rule counts in whole numbers, not in {number!r}; round it"
            raise ProblemError(msg)


def _check_numbers(numbers: Iterable[int], count: int, word: str) -> None:
    numbers = tuple(numbers)
    _check_whole(numbers)
    for number in numbers:
        if not 0 <= number < count:
            msg = f"a rule names {word} {number}; the problem has {count}, numbered from 0"
            raise ProblemError(msg)
