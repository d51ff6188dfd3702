"""From a partial choice of a list back to the moves that made it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from solvers.arrays import Integers


class Step(NamedTuple):
    """How the partial choices of one class came from those before.

    Attributes:
        origin: ``move·parents + parent`` of each partial choice, move 0 being none.
        parents: how many there were before.
        start: position of the class's first move.
    """

    origin: Integers | Sequence[int]
    parents: int
    start: int


def trace_moves(steps: Sequence[Step], state: int) -> Integers:
    """Positions of the moves behind a state of the last step, from its last class back to the first, int64."""
    chosen = []
    for step in reversed(steps):
        move, state = divmod(int(step.origin[state]), step.parents)
        if move:
            chosen.append(step.start + move - 1)
    return np.array(chosen, dtype=np.int64)
