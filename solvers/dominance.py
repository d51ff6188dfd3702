"""Items that no other item of their class makes superfluous."""

import numpy as np
from numpy.typing import NDArray

from solvers.problem import Problem


def undominated(problem: Problem) -> NDArray[np.bool_]:
    """Which items are worth a thought, bool ``[N, K]``; O(R·N·K²).

    An item is dominated when another allowed item of its class loses no more and is no larger in any row; of items that are
    equal in all of these the first one stays. The Lagrangian bound at any multipliers ≥ 0 is the same without dominated items.
    """
    loss, sizes = problem.loss.T, problem.sizes.transpose(0, 2, 1)
    stays = problem.allowed().T.copy()
    for k in range(problem.items):
        for j in range(problem.items):
            if j == k:
                continue
            no_worse = (loss[j] <= loss[k]) & (sizes[:, j] <= sizes[:, k]).all(axis=0) & np.isfinite(loss[j])
            if j > k:
                no_worse &= (loss[j] < loss[k]) | (sizes[:, j] < sizes[:, k]).any(axis=0)
            stays[k] &= ~no_worse
    kept: NDArray[np.bool_] = np.ascontiguousarray(stays.T)
    return kept
