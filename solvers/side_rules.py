"""What a choice must keep besides its budgets."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from solvers.arrays import Integers


@dataclass(frozen=True, slots=True, eq=False)
class LinearRow:
    """``Σ_i coefficients[i, x_i] ≤ bound``, true of every choice that keeps the rule it comes from.

    Attributes:
        coefficients: int64 ``[N, K]``, any sign.
        bound: whole number.
    """

    coefficients: Integers
    bound: int


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

        A rule that is itself linear gives the rows that say it completely; another may give weaker ones, or none.
        """
