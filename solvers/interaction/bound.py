"""What proves that no choice is better."""

from dataclasses import dataclass

from solvers.arrays import Floats


@dataclass(frozen=True, slots=True, eq=False)
class InteractionBound:
    """What proves a bound: the driver recomputes it from these two alone.

    Attributes:
        value: no choice has a smaller loss.
        multipliers: float64 ``[R]``, ≥ 0.
        certificate: what the interaction makes its minorant of.
    """

    value: float
    multipliers: Floats
    certificate: Floats | None
