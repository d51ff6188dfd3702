"""Cells that two probes measured: what a link is fitted on."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

LEAST_PAIRS: Final = 10
"""No link is fitted on fewer cells."""


@final
@dataclass(frozen=True, eq=False)
class Pairs:
    """Losses of the same cells by a cheap and by an exact probe, both above zero, with their standard errors.

    Attributes:
        cheap: float64 (pairs,).
        cheap_error: float64 (pairs,); 0 where unknown.
        exact: float64 (pairs,).
        exact_error: float64 (pairs,); 0 where unknown.
        formats: text (pairs,): names of the cells' formats.
    """

    cheap: NDArray[np.float64]
    cheap_error: NDArray[np.float64]
    exact: NDArray[np.float64]
    exact_error: NDArray[np.float64]
    formats: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.cheap)

    @cached_property
    def x(self) -> NDArray[np.float64]:
        """Logarithms of the cheap losses."""
        return np.log(self.cheap)

    @cached_property
    def y(self) -> NDArray[np.float64]:
        """Logarithms of the exact losses."""
        return np.log(self.exact)

    @cached_property
    def x_variance(self) -> NDArray[np.float64]:
        """Variances of ``x``."""
        return log_variance(self.cheap, self.cheap_error)

    @cached_property
    def y_variance(self) -> NDArray[np.float64]:
        """Variances of ``y``."""
        return log_variance(self.exact, self.exact_error)

    @cached_property
    def format_names(self) -> tuple[str, ...]:
        """The formats, each once."""
        return tuple(dict.fromkeys(self.formats.tolist()))

    @cached_property
    def of_format(self) -> NDArray[np.bool_]:
        """Which pair is of which format, (pairs, formats)."""
        found: NDArray[np.bool_] = self.formats[:, None] == np.array(self.format_names, dtype=str)
        return found

    def part(self, chosen: NDArray[np.bool_]) -> "Pairs":
        """Some of the pairs, in order."""
        return Pairs(
            self.cheap[chosen], self.cheap_error[chosen], self.exact[chosen], self.exact_error[chosen], self.formats[chosen]
        )


def usable_pairs(
    cheap: NDArray[np.float64],
    exact: NDArray[np.float64],
    formats: NDArray[np.str_],
    *,
    cheap_error: NDArray[np.float64],
    exact_error: NDArray[np.float64],
) -> Pairs:
    """The pairs with two finite losses above zero; a standard error that is NaN counts as 0: the residuals then hold it.

    A loss of zero has no logarithm and needs no link: it stays zero.
    """
    good = np.isfinite(cheap) & np.isfinite(exact)
    good[good] = (cheap[good] > 0) & (exact[good] > 0)
    return Pairs(
        cheap[good],
        np.nan_to_num(cheap_error[good], nan=0.0),
        exact[good],
        np.nan_to_num(exact_error[good], nan=0.0),
        formats[good],
    )


def log_variance(loss: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance of the logarithm of losses above zero, as of a log-normal variable: ``ln(1 + (error/loss)²)``.

    It is ``(error/loss)²`` where that is small, and grows no faster than its logarithm where it is not.
    """
    with np.errstate(over="ignore"):
        ratio = error / loss
    variance: NDArray[np.float64] = 2 * np.log(np.hypot(1.0, np.minimum(ratio, 1e150)))
    return variance
