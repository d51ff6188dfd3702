"""The multiple-choice knapsack as frozen, checked numbers."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, fields
from typing import TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solvers.arrays import Floats, Integers
from solvers.errors import NoAllowedItemError, ProblemError
from solvers.interactions import AbstractInteraction
from solvers.side_rules import AbstractSideRule

__all__ = ["Floats", "Integers", "Problem", "chosen_losses", "class_minima", "total_loss", "total_sizes"]

Value = TypeVar("Value")

LARGEST_SIZE = int(np.iinfo(np.int64).max)
LARGEST_LOSS = 2.0**950  # in total: a loss per unit of size times any total size still fits a float64


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Choose one item of each class: least total loss while every total size keeps its budget.

    ``min Σ_i loss[i, x_i]`` subject to ``Σ_i sizes[r, i, x_i] ≤ budgets[r]`` for every r (MCKP; Kellerer, Pferschy and
    Pisinger, *Knapsack Problems*, 2004, chapter 11). The arrays are private copies, read-only, and laid out with the
    classes of one item side by side, which is what the solvers walk along.

    Attributes:
        loss: float64 ``[N, K]``; any sign, any unit; ``inf`` says that the class may not take the item.
        sizes: int64 ``[R, N, K]``, not negative, whole units (bits, bytes, nanoseconds). Unused where the loss is ``inf``.
        budgets: int64 ``[R]``, in the unit of their row of sizes.
        rules: what a choice must keep besides the budgets; few solvers take any.
        interaction: loss that is added to the losses of the items and belongs to several classes; few solvers take it.
        all_allowed: no loss is ``inf``.
        known: what was made of losses and sizes alone, shared by all problems that ``with_budgets`` made of this one.

    Raises:
        ProblemError: shapes that do not fit, NaN, ``-inf``, negative or fractional sizes, total sizes past int64, total losses
            past 2^950 (about 1e286), a rule or an interaction for another shape.
        NoAllowedItemError: a class in which every item has loss ``inf``.
    """

    loss: Floats
    sizes: Integers
    budgets: Integers
    rules: tuple[AbstractSideRule, ...] = ()
    interaction: AbstractInteraction | None = None
    all_allowed: bool = field(init=False)
    known: dict[Hashable, object] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        loss = _losses(self.loss)
        sizes = _whole(self.sizes, "sizes")
        budgets = _whole(self.budgets, "budgets")
        _check_shapes(loss, sizes, budgets)
        finite = bool(np.isfinite(loss).all())
        _freeze(self, loss=loss, sizes=_item_major(sizes), budgets=budgets.copy(), all_allowed=finite)
        _check_losses(self)
        _check_sizes(self)
        for part in (*self.rules, self.interaction):
            if part is not None:
                part.check(self.classes, self.items)

    def with_budgets(self, budgets: ArrayLike) -> "Problem":
        """The same losses and sizes, which are checked already and not copied, under other budgets.

        Args:
            budgets: int64 ``[R]``.

        Raises:
            ProblemError: not one whole number for each row of sizes.
        """
        whole = _whole(budgets, "budgets")
        if whole.shape != self.budgets.shape:
            msg = f"budgets has shape {whole.shape}; give one whole number for each of the {self.budgets.shape[0]} rows of sizes"
            raise ProblemError(msg)
        other = object.__new__(Problem)
        for part in fields(self):
            object.__setattr__(other, part.name, getattr(self, part.name))
        _freeze(other, budgets=whole.copy())
        return other

    def recall(self, key: Hashable, make: "Callable[[Problem], Value]") -> Value:
        """What ``make`` makes of the losses and sizes, made once for all problems that differ in nothing but their budgets.

        Args:
            key: what is asked for; values of one key have one type.
            make: must not read the budgets.
        """
        if key not in self.known:
            self.known[key] = make(self)
        return cast(Value, self.known[key])

    @property
    def classes(self) -> int:
        """N, the number of classes."""
        return int(self.loss.shape[0])

    @property
    def items(self) -> int:
        """K, the number of items of each class."""
        return int(self.loss.shape[1])

    def allowed(self) -> NDArray[np.bool_]:
        """Which cells may be chosen, bool ``[N, K]``."""
        return np.isfinite(self.loss)

    def smallest_sizes(self) -> Integers:
        """Σ_i min_k sizes[r, i, k] over the allowed items, int64 ``[R]``: no budget below it can be kept.

        With one budget this is the smallest feasible budget; with more it bounds each of them alone.
        """
        return self.recall("smallest sizes", _smallest_sizes)


def _smallest_sizes(problem: Problem) -> Integers:
    smallest: Integers = class_minima(problem).sum(axis=1, dtype=np.int64)
    smallest.setflags(write=False)
    return smallest


def class_minima(problem: Problem) -> Integers:
    """Smallest allowed size of each class, int64 ``[R, N]``."""
    return problem.recall("class minima", _class_minima)


def _class_minima(problem: Problem) -> Integers:
    sizes = problem.sizes
    if not problem.all_allowed:
        sizes = np.where(problem.allowed(), sizes, LARGEST_SIZE)
    if problem.classes == 0:
        return np.zeros(sizes.shape[:2], dtype=np.int64)
    smallest: Integers = sizes.min(axis=2)
    smallest.setflags(write=False)
    return smallest


def chosen_losses(problem: Problem, choice: Integers) -> Floats:
    """loss[i, choice_i], float64 ``[N]``."""
    return problem.loss[np.arange(choice.shape[0]), choice]


def total_sizes(problem: Problem, choice: Integers) -> Integers:
    """Σ_i sizes[r, i, choice_i], exact, int64 ``[R]``."""
    rows = np.arange(problem.classes)
    totals: Integers = problem.sizes[:, rows, choice].sum(axis=1, dtype=np.int64)
    return totals


def total_loss(problem: Problem, choice: Integers) -> float:
    """Σ_i loss[i, choice_i], correctly rounded, so that it does not depend on the order of the classes; and the interaction."""
    additive = math.fsum(chosen_losses(problem, choice).tolist())
    if problem.interaction is None:
        return additive
    return additive + float(problem.interaction.values(choice[None, :])[0])


def _freeze(problem: Problem, **values: object) -> None:
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
        object.__setattr__(problem, name, value)


def _losses(values: ArrayLike) -> Floats:
    if np.iscomplexobj(values):
        msg = "loss is complex; give real numbers"
        raise ProblemError(msg)
    try:
        loss = np.array(values, dtype=np.float64, order="F")
    except (TypeError, ValueError) as error:
        msg = f"loss must be an array of numbers of shape (N, K): {error}"
        raise ProblemError(msg) from error
    if loss.ndim != 2:
        msg = f"loss has shape {loss.shape}; give it as (N, K): one row a class, one column an item"
        raise ProblemError(msg)
    return loss


def _whole(values: ArrayLike | Sequence[int], name: str) -> Integers:
    try:
        whole = np.asarray(values)
        if whole.size == 0:
            whole = whole.astype(np.int64)
        if whole.dtype.kind not in "iu":
            msg = f"{name} must be whole numbers within int64 but have dtype {whole.dtype}; count in bits, or round before this"
            raise ProblemError(msg)
        if whole.dtype.kind == "u" and whole.size and int(whole.max()) > LARGEST_SIZE:
            msg = f"{name} reach {int(whole.max())}, past int64; count in a larger unit"
            raise ProblemError(msg)
        return whole.astype(np.int64, copy=False)
    except (OverflowError, ValueError) as error:
        msg = f"{name} must be a regular array of whole numbers within int64: {error}"
        raise ProblemError(msg) from error


def _check_shapes(loss: Floats, sizes: Integers, budgets: Integers) -> None:
    if budgets.ndim != 1 or budgets.shape[0] < 1:
        msg = f"budgets has shape {budgets.shape}; give one whole number a row of sizes, at least one"
        raise ProblemError(msg)
    wanted = (budgets.shape[0], *loss.shape)
    if sizes.shape != wanted:
        msg = f"sizes has shape {sizes.shape}; {wanted} = (budgets, classes, items) is needed"
        raise ProblemError(msg)


def _item_major(sizes: Integers) -> Integers:
    """A copy that looks like ``[R, N, K]`` and lies in memory as ``[R, K, N]``."""
    return np.array(sizes.transpose(0, 2, 1), order="C").transpose(0, 2, 1)


def _check_losses(problem: Problem) -> None:
    loss = problem.loss
    if problem.items == 0 and problem.classes:
        msg = f"{problem.classes} classes without an item: give every class at least one candidate"
        raise NoAllowedItemError(msg)
    if problem.all_allowed:
        _check_total(loss)
        return
    for wrong, word in ((np.isnan(loss), "NaN"), (loss == -np.inf, "-inf")):
        if wrong.any():
            i, k = np.argwhere(wrong)[0]
            msg = f"the loss of class {i}, item {k} is {word}; measure it again, or write inf to forbid the item"
            raise ProblemError(msg)
    allowed = problem.allowed()
    empty = ~allowed.any(axis=1)
    if empty.any():
        msg = f"class {int(empty.argmax())} may take none of its {problem.items} items (every loss is inf); allow one at least"
        raise NoAllowedItemError(msg)
    _check_total(np.where(allowed, loss, 0.0))


def _check_total(loss: Floats) -> None:
    with np.errstate(over="ignore"):
        largest = float(np.abs(loss).max(axis=1, initial=0.0).sum())
    if not largest < LARGEST_LOSS:
        msg = f"the losses add up to {largest:.3g}, past {LARGEST_LOSS:.3g}; scale them down, or write inf to forbid an item"
        raise ProblemError(msg)


def _check_sizes(problem: Problem) -> None:
    allowed = problem.allowed()
    for r, sizes in enumerate(problem.sizes):
        if sizes.size and int(sizes.min()) < 0:
            i, k = np.argwhere(sizes < 0)[0]
            msg = f"the size of class {i}, item {k} in row {r} is {sizes[i, k]}; sizes cannot be negative"
            raise ProblemError(msg)
        usable = sizes if problem.all_allowed else np.where(allowed, sizes, 0)
        largest = usable.max(axis=1, initial=0)
        if float(largest.sum(dtype=np.float64)) > LARGEST_SIZE / 2 and sum(map(int, largest)) > LARGEST_SIZE:
            msg = f"the largest total of row {r} passes int64; divide its sizes and its budget by a common factor"
            raise ProblemError(msg)
