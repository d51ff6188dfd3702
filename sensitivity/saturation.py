"""Shares of a damage that saturates, turned into costs that add up. No torch here."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from sensitivity.errors import NonFiniteError

NODES: Final = 16
"""Gauss-Legendre nodes of the integral along the way; the integrand is a product of straight lines."""

ROUNDS: Final = 20_000
"""Of the damped fixed point: it halves the error in each where shares are small, and creeps close to the ceiling."""

TOLERANCE: Final = 1e-12
"""Relative to the largest share."""

NEAR_CEILING: Final = 1.0 - 1e-9
"""Largest ``a``: a layer that takes all of the damage by itself would cost infinity."""


def saturating_costs(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """``b = −ln(1 − a)`` from Aumann–Shapley shares of ``f(S) = 1 − Π_{i∈S} (1 − a_i)``, the damage in units of its ceiling.

    ``φ_i = a_i ∫₀¹ Π_{j≠i} (1 − t a_j) dt`` is solved for a by a damped fixed point (arXiv 2607.12266). Costs of disjoint sets
    add up: ``f(S) = 1 − exp(−Σ_{i∈S} b_i)``.

    Args:
        shares: φ, (layers,), each far from one or at least below it, together below one; negative ones (a layer whose error
            hides that of others) give negative costs.

    Returns:
        Shape (layers,).

    Raises:
        NonFiniteError: a share is NaN or infinite, or together they reach the ceiling, or are so close to it that the equations
            have no solution in floating point.
    """
    if not np.isfinite(shares).all() or shares.sum() >= 1.0:
        raise _too_close(shares)
    places, weights = np.polynomial.legendre.leggauss(NODES)
    t = ((places + 1) / 2)[:, None]
    own = shares.copy()
    limit = TOLERANCE * max(float(np.abs(shares).max(initial=0.0)), np.finfo(float).tiny)
    for _ in range(ROUNDS):
        logs = np.log1p(-t * own)
        others = np.exp(logs.sum(axis=1, keepdims=True) - logs)
        better = np.minimum(shares / ((weights / 2) @ others), NEAR_CEILING)
        moved = 0.5 * (better - own)
        own = own + moved
        if np.abs(moved).max(initial=0.0) <= limit:
            costs: NDArray[np.float64] = -np.log1p(-own)
            return costs
    raise _too_close(shares)


def _too_close(shares: NDArray[np.float64]) -> NonFiniteError:
    return NonFiniteError(f"shares of {shares.sum():g} of the ceiling cannot be inverted; raise the headroom above 1")
