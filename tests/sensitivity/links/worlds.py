"""Made-up cells whose exact losses are known: log-normal layers, fourfold a bit, seen by a probe that is off and noisy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensitivity.links.pairs import Pairs, usable_pairs

FORMATS = ("INT2_G64", "INT3_G64", "INT4_G64", "INT6_G64")


@dataclass(frozen=True, slots=True)
class World:
    """Arrays of shape (layers, formats)."""

    true: NDArray[np.float64]
    cheap: NDArray[np.float64]
    cheap_error: NDArray[np.float64]
    exact: NDArray[np.float64]
    exact_error: NDArray[np.float64]
    formats: NDArray[np.str_]

    def pairs(self, count: int, *, seed: int = 0) -> tuple[Pairs, NDArray[np.bool_]]:
        """Some cells, and which they are."""
        chosen = np.zeros(self.true.size, dtype=bool)
        chosen[np.random.default_rng(seed).choice(self.true.size, count, replace=False)] = True
        which = chosen.reshape(self.true.shape)
        found = usable_pairs(
            self.cheap[which],
            self.exact[which],
            self.formats[which],
            cheap_error=self.cheap_error[which],
            exact_error=self.exact_error[which],
        )
        return found, which


def world(
    seed: int,
    *,
    layers: int = 60,
    factors: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    power: float = 1.0,
    noise: float = 0.2,
    residual: float = 0.15,
) -> World:
    """exact = (cheap / factor)^power, times a log-normal residual; the probe's own error is ``noise`` of its loss."""
    random = np.random.default_rng(seed)
    bits = np.array([2, 3, 4, 6])
    shape = (layers, len(bits))
    true = np.exp(random.normal(0, 1.2, (layers, 1))) * 4.0**-bits * np.exp(random.normal(0, 0.2, shape))
    seen = true ** (1 / power) * np.array(factors) * np.exp(random.normal(0, residual, shape))
    cheap = seen * np.clip(1 + noise * random.standard_normal(shape), 0.05, None)
    exact = true * (1 + 0.03 * random.standard_normal(shape))
    return World(true, cheap, noise * seen, exact, 0.03 * true, np.broadcast_to(np.array(FORMATS), shape))
