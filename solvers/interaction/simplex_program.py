"""A small convex quadratic program over a simplex, by active sets."""

import numpy as np

from solvers.arrays import Floats

CLOSE = 1e-12  # relative
RIDGE = 1e-13  # of the largest diagonal entry: keeps the system of dependent points regular


def minimise_on_simplex(linear: Floats, gram: Floats, start: Floats) -> Floats:
    """``min linearᵀα + αᵀ·gram·α`` over ``α ≥ 0, Σα = 1``.

    Wolfe's method (1976, *Finding the nearest point in a polytope*) with a linear term: solve on the support as if α had
    no sign, walk there until an entry vanishes, drop it; at a minimum of the support take in the steepest other entry.

    Args:
        linear: float64 ``[M]``.
        gram: float64 ``[M, M]``, positive semidefinite.
        start: float64 ``[M]``, any point of the simplex.

    Returns:
        The minimiser up to rounding, float64 ``[M]``.
    """
    weights = start.copy()
    scale = float(np.abs(linear).max() + np.abs(gram).max()) or 1.0
    ridge = RIDGE * (float(np.diagonal(gram).max()) or scale)
    support = np.flatnonzero(weights > 0)
    for _ in range(20 * linear.shape[0] + 50):
        target = _free_minimum(linear[support], gram[np.ix_(support, support)], ridge)
        now = weights[support]
        if target.min() >= 0:
            weights[support] = target
            slope = linear + 2.0 * (gram @ weights)
            entering = int(slope.argmin())
            if slope[entering] >= float(slope @ weights) - CLOSE * scale or entering in support:
                break
            support = np.append(support, entering)
            continue
        falling = target < 0
        ratio = now[falling] / (now[falling] - target[falling])
        now = np.maximum(now + float(ratio.min()) * (target - now), 0.0)
        now[np.flatnonzero(falling)[ratio <= ratio.min()]] = 0.0
        weights[support] = now
        support = support[now > 0]
    normed: Floats = weights / weights.sum()
    return normed


def _free_minimum(linear: Floats, gram: Floats, ridge: float) -> Floats:
    """The minimiser with Σα = 1 and no signs."""
    count = linear.shape[0]
    system = np.zeros((count + 1, count + 1))
    system[:count, :count] = 2.0 * gram
    system[np.arange(count), np.arange(count)] += ridge
    system[count, :count] = system[:count, count] = 1.0
    solution: Floats = np.linalg.solve(system, np.append(-linear, 1.0))
    return solution[:count]
