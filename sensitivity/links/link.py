"""A monotone map from a cheap probe's loss to an exact one's, with the error of what it says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray

from sensitivity.links.pairs import log_variance


@final
@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """``ln exact = g(ln cheap) + offset of the format + residual``, g non-decreasing.

    Between its knots g is the monotone cubic of Fritsch and Carlson (SIAM J. Numer. Anal. 17, 1980); beyond them, and with a
    single knot everywhere, it is a straight line: a power law of the losses.

    Attributes:
        family: which shape was fitted; see ``families``.
        knots: float64 (knots, 2): rising pairs of ln cheap and g.
        slope: of the lines beyond the knots, > 0.
        offsets: format → what is added for its cells; formats that are not in it take 0.
        residual_variance: of single cells around g, in ln; without the cells' own standard errors.
        level_variance: of g between the knots; of formats without an offset where others have one.
        format_variances: format → variance of g and its offset together.
        slope_variance: of ``slope``.
    """

    family: str
    knots: NDArray[np.float64]
    slope: float
    offsets: Mapping[str, float] = field(default_factory=dict)
    residual_variance: float = 0.0
    level_variance: float = 0.0
    format_variances: Mapping[str, float] = field(default_factory=dict)
    slope_variance: float = 0.0

    def logarithm(self, x: NDArray[np.float64], formats: NDArray[np.str_]) -> NDArray[np.float64]:
        """Median of ln exact at ln cheap = x: g and the offset; shapes (cells,)."""
        inside = np.clip(x, self.knots[0, 0], self.knots[-1, 0])
        level = self._between(inside) + self.slope * (x - inside)
        if not self.offsets:
            return level
        return level + _of_formats(self.offsets, formats, default=0.0)

    def variance(self, x: NDArray[np.float64], x_variance: NDArray[np.float64], formats: NDArray[np.str_]) -> NDArray[np.float64]:
        """Variance of ln exact at ln cheap = x ± √x_variance: the cell's own, the residual's, and the fit's."""
        beyond = x - np.clip(x, self.knots[0, 0], self.knots[-1, 0])
        levels = _of_formats(self.format_variances, formats, default=self.level_variance)
        return self.slope**2 * x_variance + self.residual_variance + levels + self.slope_variance * np.square(beyond)

    def losses(
        self, cheap: NDArray[np.float64], error: NDArray[np.float64], formats: NDArray[np.str_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Exact losses as the cheap ones foretell them, and their standard errors.

        A loss is the mean of a log-normal variable, ``exp(g + v/2)``, because losses are added up; its standard error is
        ``loss·√(exp(v) − 1)``. The identity keeps the loss as it is. A cheap loss of zero or less is 0 without an error: what is
        to be believed of such losses where they have an error is said by ``positive.above_zero``, before they are linked.

        Args:
            cheap: float64 (cells,), finite.
            error: float64 (cells,), standard errors; NaN counts as 0.
            formats: text (cells,).

        Returns:
            Two float64 arrays (cells,).
        """
        some = cheap > 0
        x = np.log(cheap[some])
        own = log_variance(cheap[some], np.nan_to_num(error[some], nan=0.0))
        variance = self.variance(x, own, formats[some])
        middle = self.logarithm(x, formats[some])
        mean = np.exp(middle if self.family == "identity" else middle + variance / 2)
        loss, spread = np.zeros(len(cheap)), np.zeros(len(cheap))
        loss[some], spread[some] = mean, mean * np.sqrt(np.expm1(variance))
        return loss, spread

    def _between(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values of g at x between the first knot and the last."""
        if len(self.knots) == 1:
            return np.full(len(x), self.knots[0, 1])
        from scipy.interpolate import PchipInterpolator  # here, so that only who links loads it

        values: NDArray[np.float64] = PchipInterpolator(*self.knots.T)(x)
        return values


def _of_formats(known: Mapping[str, float], formats: NDArray[np.str_], *, default: float) -> NDArray[np.float64]:
    """The number of each cell's format."""
    names, places = np.unique(formats, return_inverse=True)
    return np.array([known.get(str(name), default) for name in names], dtype=np.float64)[places]
