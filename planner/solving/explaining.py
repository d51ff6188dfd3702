"""What explains a plan: the next larger format of each group, and which choices hang on noise."""

import numpy as np
from numpy.typing import NDArray

import solvers
from planner.build import Classes, GroupCurves
from sensitivity.formats.abstract import AbstractFormat


def larger_formats(classes: Classes[AbstractFormat], curves: GroupCurves, choice: NDArray[np.int64]) -> NDArray[np.int64]:
    """Column of the smallest larger format whose loss is lower, int64 (groups,); -1 where no larger format helps."""
    if not len(choice):
        return np.empty(0, dtype=np.int64)
    rows = np.arange(len(choice))
    size, loss = classes.sizes[rows, choice][:, None], curves.loss[rows, choice][:, None]
    useful = np.isfinite(curves.loss) & (classes.sizes > size) & (curves.loss < loss)
    ordered = np.where(useful, classes.sizes, np.iinfo(np.int64).max)
    return np.where(useful.any(axis=1), ordered.argmin(axis=1), -1)


def larger_items(problem: solvers.Problem) -> NDArray[np.int32]:
    """What ``larger_formats`` says of every choice, int32 (groups, formats), by the first row of sizes of a problem."""
    sizes, losses = problem.sizes[0].T, problem.loss.T
    found = np.full(losses.shape, -1, dtype=np.int32)
    least = np.full(losses.shape, np.iinfo(np.int64).max)
    for column in range(losses.shape[0]):
        useful = (sizes[column] > sizes) & (losses[column] < losses) & (sizes[column] < least)
        least = np.where(useful, sizes[column], least)
        found[useful] = column
    table = np.ascontiguousarray(found.T)
    table.setflags(write=False)
    return table


def fragile_groups(
    priced: NDArray[np.float64], standard_error: NDArray[np.float64], choice: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether some other format's priced loss is within one standard error of the chosen one's, bool (groups,).

    Args:
        priced: float64 (groups, formats): losses and the price of what each format takes; ``inf`` where not legal.
        standard_error: float64 (groups, formats), of the losses.
        choice: int64 (groups,).
    """
    if not len(choice):
        return np.empty(0, dtype=bool)
    rows = np.arange(len(choice))
    variance = np.square(standard_error)
    margin = priced - priced[rows, choice][:, None]
    reach = np.sqrt(variance + variance[rows, choice][:, None])
    close = np.isfinite(priced) & (margin < reach)
    close[rows, choice] = False
    fragile: NDArray[np.bool_] = close.any(axis=1)
    return fragile
