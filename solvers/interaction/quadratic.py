"""What the solver asks of an interaction: what one change of a choice costs, and what two of them cost together."""

from abc import abstractmethod

from solvers.arrays import Floats, Integers
from solvers.interactions import AbstractInteraction


class AbstractQuadratic(AbstractInteraction):
    """An interaction between pairs of classes: two changes cost what each costs alone, plus one number for the pair."""

    __slots__ = ()

    @property
    @abstractmethod
    def is_zero(self) -> bool:
        """It adds nothing to any choice."""

    @abstractmethod
    def flips(self, choice: Integers) -> Floats:
        """Change of the interaction when class i alone takes item k instead, float64 ``[N, K]``; 0 for the chosen items.

        Args:
            choice: int64 ``[N]``.
        """

    @abstractmethod
    def heights(self, certificate: Floats | None) -> Floats:
        """How far above its minorant the interaction lies at least when class i takes item k, float64 ``[N, K]``, ≥ 0.

        Args:
            certificate: of the minorant.
        """

    @abstractmethod
    def crossings(self, choice: Integers, klass: Integers, item: Integers) -> Floats:
        """What two moves change together beyond what each changes alone, float64 ``[M, M]``, symmetric.

        Args:
            choice: int64 ``[N]``.
            klass: int64 ``[M]``, the class of each move.
            item: int64 ``[M]``, the item that it takes instead. Entries of two moves of one class mean nothing.
        """
