"""Loss that belongs to no class alone."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from solvers.arrays import Floats, Integers


@dataclass(frozen=True, slots=True, eq=False)
class Minorant:
    """An additive function below an interaction: ``value(x) ≥ constant + Σ_i loss[i, x_i]`` for every choice x.

    Attributes:
        loss: float64 ``[N, K]``, finite.
        constant: finite.
    """

    loss: Floats
    constant: float


class AbstractInteraction(ABC):
    """A term of the loss that looks at several classes together."""

    __slots__ = ()

    @abstractmethod
    def check(self, classes: int, items: int) -> None:
        """Refuse an interaction of another shape, or with numbers that are not finite.

        Raises:
            ProblemError: with what is wrong.
        """

    @abstractmethod
    def values(self, choices: Integers) -> Floats:
        """The interaction of each of M choices, int64 ``[M, N]`` to float64 ``[M]``."""

    @abstractmethod
    def minorant(self, certificate: Floats | None) -> Minorant:
        """The additive function that a solver's certificate stands for; ``None`` gives the one that needs no work.

        The driver prints the bound that it implies, so this must be below the interaction whatever the certificate says.

        Raises:
            ValueError: the certificate has another shape or is not finite.
        """
