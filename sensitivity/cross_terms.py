"""Score products as planning reads them, without torch: what one assignment costs, with what its layers do together.

The score product of a layer in a format, for one drawn set of labels of one sequence of T tokens, is ``⟨G, ΔW⟩ / √(2T)`` with
``G = Σ_t ∇_W log p(y_t | x_≤t)``. The mean square of the sum over the layers of an assignment estimates ``½ ΔWᵀ F ΔW`` per token
with F the Fisher matrix of *all* weights: in nats, the second order of KL(reference ‖ quantized). Squares of single layers
are the cells of ``fisher``; the rest are the cross terms, which CLADO (arXiv 2307.05657) measures pair by pair.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sensitivity.errors import TooManyProductsError

Products = NDArray[np.float32]
"""``(layers, sequences, draws)``; NaN where there is no sample."""

LARGEST_BYTES: Final = 256 << 20
"""Of all products of a run in float32. A worker that merges them takes six times as much for a moment."""


def refuse_too_many(*, layers: int, formats: int, sequences: int, draws: int) -> None:
    """Refuse a run whose products would not fit in memory.

    Raises:
        TooManyProductsError: more than ``LARGEST_BYTES``.
    """
    size = 4 * layers * formats * sequences * draws
    if size > LARGEST_BYTES:
        msg = (
            f"{layers} layers × {formats} formats × {sequences} sequences × {draws} draws are {size:,} bytes of score products; "
            f"at most {LARGEST_BYTES:,} are kept. Take fewer draws, sequences or formats, or only some layers (include)"
        )
        raise TooManyProductsError(msg)


@dataclass(frozen=True, slots=True)
class CrossTerms:
    """What the layers of one assignment cost together.

    Attributes:
        loss: sum over all pairs of different layers, nats per token; of either sign.
        standard_error: of ``loss``, over sequences; NaN with one sequence.
        total: squares of single layers and ``loss``, never negative.
        total_error: of ``total``, over sequences; NaN with one sequence.
    """

    loss: float
    standard_error: float
    total: float
    total_error: float


def cross_terms(parts: Iterable[Products]) -> CrossTerms:
    """Cross terms of an assignment: per sequence, the mean over draws of ``(Σ_l f_l)² − Σ_l f_l²``.

    Unbiased for a given assignment. The spread is that of a χ² with one degree of freedom a draw: the standard error of the
    total is about ``√(2 / (sequences × draws))`` of it, whatever the number of layers.

    Args:
        parts: products of the chosen cells, in any grouping by layers: each ``(layers, sequences, draws)``, finite. At least one.
    """
    sums: NDArray[np.float64] | float = 0.0
    squares: NDArray[np.float64] | float = 0.0
    for part in parts:
        numbers = part.astype(np.float64)
        sums, squares = sums + numbers.sum(axis=0), squares + np.square(numbers).sum(axis=0)
    total = np.square(sums).mean(axis=-1)
    between = total - np.mean(squares, axis=-1)
    return CrossTerms(float(between.mean()), _error(between), float(total.mean()), _error(total))


def _error(samples: NDArray[np.float64]) -> float:
    return float(samples.std(ddof=1)) / math.sqrt(len(samples)) if len(samples) > 1 else math.nan
