"""What shares the bits of a rate problem: layers, rows or columns whose loss falls as ``c·β^(−bits)``."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solvers.arrays import Floats
from solvers.errors import ProblemError


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """What shares the bits; all arrays float64 ``[N]``, read-only copies. ``Components.of`` takes numbers for all as well.

    Attributes:
        scale: c, the loss at 0 bits, ≥ 0; 0 stands for a component that loses nothing.
        weights: n, what one bit more of the component costs in units of the budget, > 0.
        beta: β > 1, by how much one bit divides the loss: 4 in theory, 3.86 in BAQ, 3.6 to 5.3 as fitted by RateQuant.
        low: fewest bits, finite.
        high: most bits, at least ``low``; ``inf`` for no limit.
        side_bits: o ≥ 0, bits a weight stored beside the value (scales, zero points, the number of bits itself).

    Raises:
        ProblemError: numbers out of these ranges, NaN, or lengths that do not fit.
    """

    scale: Floats
    weights: Floats
    beta: Floats
    low: Floats
    high: Floats
    side_bits: Floats

    def __post_init__(self) -> None:
        count = int(np.size(self.scale))
        for name in ("scale", "weights", "beta", "low", "high", "side_bits"):
            object.__setattr__(self, name, spread(getattr(self, name), count, name))
        _check(self.scale >= 0, self.scale < np.inf, "scale must be finite and >= 0")
        _check(self.weights > 0, self.weights < np.inf, "weights must be finite and > 0")
        _check(self.beta > 1, self.beta < np.inf, "beta must be finite and > 1; a curve that does not fall has no closed form")
        _check(np.isfinite(self.low), self.low <= self.high, "low must be finite and no more than high")
        _check(self.side_bits >= 0, self.side_bits < np.inf, "side_bits must be finite and >= 0")

    @classmethod
    def of(
        cls,
        scale: ArrayLike,
        *,
        weights: ArrayLike = 1.0,
        beta: ArrayLike = 4.0,
        low: ArrayLike = 0.0,
        high: ArrayLike = np.inf,
        side_bits: ArrayLike = 0.0,
    ) -> "Components":
        """Components from arrays ``[N]`` or numbers that hold for all; ``scale`` sets N.

        Raises:
            ProblemError: as above.
        """
        count = int(np.size(np.asarray(scale)))
        named = {"scale": scale, "weights": weights, "beta": beta, "low": low, "high": high, "side_bits": side_bits}
        return cls(**{name: spread(values, count, name) for name, values in named.items()})

    @property
    def count(self) -> int:
        """N, the number of components."""
        return int(self.scale.shape[0])

    def log_gain(self) -> Floats:
        """Float64 ``[N]``, s = ln(c·ln β/n): the log of the marginal loss per unit of budget at 0 bits; ``-inf`` where c is 0."""
        with np.errstate(divide="ignore"):
            gain: Floats = np.log(self.scale)
        gain += np.log(np.log(self.beta))
        gain -= np.log(self.weights)
        return gain

    def losses(self, bits: Floats) -> Floats:
        """c·β^(−bits), float64 ``[N]``, without overflow on the way."""
        with np.errstate(divide="ignore", over="ignore"):
            return np.exp(np.log(self.scale) - bits * np.log(self.beta))

    def size(self, bits: Floats) -> float:
        """Σ n·(bits + o), in units of the budget."""
        return float((self.weights * (bits + self.side_bits)).sum())

    @property
    def floor(self) -> float:
        """The least budget: Σ n·(lo + o)."""
        return self.size(self.low)


def uniform_gain(scale: ArrayLike, weights: ArrayLike = 1.0) -> float:
    """BAQ's gain figure: loss of the best bits over that of equal bits, GM/AM of the loss per weight, at most 1.

    Both means are weighted by n. It holds for one common β and bits that meet no limit; 0 when a component loses nothing.
    """
    components = Components.of(scale, weights=weights)
    if components.count == 0 or not components.scale.all():
        return 0.0 if components.scale.any() else 1.0
    log = np.log(components.scale) - np.log(components.weights)
    share = components.weights / components.weights.sum()
    top = float(log.max())
    return min(float(np.exp((share * (log - top)).sum()) / (share * np.exp(log - top)).sum()), 1.0)


def spread(values: ArrayLike, count: int, name: str) -> Floats:
    """A read-only float64 ``[count]`` of one number or of ``count`` numbers."""
    try:
        array = np.atleast_1d(np.asarray(values, dtype=np.float64))
        spread = np.broadcast_to(array, (count,))
    except (TypeError, ValueError) as error:
        msg = f"{name} must be one number or {count} numbers: {error}"
        raise ProblemError(msg) from error
    copy: Floats = spread.copy()
    copy.setflags(write=False)
    return copy


def _check(first: NDArray[np.bool_], second: NDArray[np.bool_], rule: str) -> None:
    wrong = ~(first & second)
    if wrong.any():
        msg = f"component {int(wrong.argmax())}: {rule}"
        raise ProblemError(msg)
