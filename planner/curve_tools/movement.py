"""Which cells of a layer are still those of another checkpoint, judged by how far its weights moved.

A format rounds with a relative error t = ‖W_k − W‖/‖W‖ (papers §22.1), a fixed share of its step. A change d = ‖ΔW‖/‖W‖ that is
far below t sends only a small share of the weights to another code, so the rounding error, and with it the cell, stays what it
was: at d = t/10, the error at the output of a random layer changes by 0.2–0.6 % at 2 to 8 bits (a test keeps it below 2 %), where
the standard error of a cell is 5–20 %.

What the rule does not see is how much the other layers moved, whose output the loss is measured at: the fewer of them did, the
better a cell that is taken over stands for the one that a measurement would give. Cells of ``weight_error`` depend on the layer
alone.
"""

import numpy as np
from numpy.typing import NDArray

DEFAULT_RATIO = 0.1


def unmoved(change: NDArray[np.float64], rounding_error: NDArray[np.float64], *, ratio: float) -> NDArray[np.bool_]:
    """Cells that may be taken over, bool ``[layers, formats]``: those with change ≤ ratio × rounding error.

    Args:
        change: d, float64 ``[layers]``; NaN, where the two layers cannot be compared, has always moved.
        rounding_error: t, float64 ``[layers, formats]``; where it is NaN (unknown) only a layer without any change has not moved.
        ratio: how far below its rounding error the change of a layer must be.
    """
    same = (change == 0)[:, None]
    with np.errstate(invalid="ignore"):
        return np.asarray(same | (change[:, None] <= ratio * rounding_error))
