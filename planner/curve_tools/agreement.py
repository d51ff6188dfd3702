"""How far two measurements of the same cells agree: in order, and in size."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two measurements of the same cells.

    Attributes:
        cells: how many cells both have.
        spearman: Spearman's rank correlation, −1 to 1; ``None`` where fewer than two cells or no order exist.
        kendall: Kendall's τ-b, likewise.
        ratio: Σ first ÷ Σ second; ``None`` where the second sum is not positive.
        ratio_error: standard error of the ratio; ``None`` where a cell's error is unknown.
    """

    cells: int
    spearman: float | None
    kendall: float | None
    ratio: float | None
    ratio_error: float | None


def agreement(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    *,
    first_error: NDArray[np.float64],
    second_error: NDArray[np.float64],
) -> Agreement:
    """Compare finite losses of the same cells, all arrays of shape ``[cells]``; unknown standard errors are NaN.

    The error of the ratio R = A/B is that of the delta method, R·√(Var A/A² + Var B/B²), with cells taken as independent:
    noise that the cells of one text share is not in it.
    """
    ratio, error = _ratio_of_sums(first, second, first_error, second_error)
    return Agreement(len(first), *_rank_correlations(first, second), ratio, error)


def _rank_correlations(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float | None, float | None]:
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None, None
    from scipy import stats  # here, so that only who compares loads it

    return float(stats.spearmanr(first, second).statistic), float(stats.kendalltau(first, second).statistic)


def _ratio_of_sums(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    first_error: NDArray[np.float64],
    second_error: NDArray[np.float64],
) -> tuple[float | None, float | None]:
    above, below = math.fsum(first), math.fsum(second)
    if below <= 0 or not math.isfinite(ratio := above / below):
        return None, None
    # √(σ_A² + R²·σ_B²)/B, without a square of a loss, which could leave float64
    error = math.hypot(math.hypot(*first_error), ratio * math.hypot(*second_error)) / below
    return ratio, error if math.isfinite(error) else None
