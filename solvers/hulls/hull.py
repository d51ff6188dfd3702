"""Lower convex hulls of all classes at once: the LP-undominated items and the steps between them."""

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.hulls.steps import StepGrid, Steps, blocks_of, measure_steps, sort_items
from solvers.problem import Problem

EXTREME = -500  # binary exponent of the largest loss below which losses are scaled before they are divided


def walk_hulls(problem: Problem) -> Steps:
    """The steps along the lower convex hulls of all classes, in one order of falling rate (loss saved per unit of size)."""
    return find_hulls(problem).in_order()


def find_hulls(problem: Problem) -> StepGrid:
    """The steps along the lower convex hull of every class, with their rates (loss saved per unit of size), in no order.

    A corner of the hull is an item whose slowest saving from a smaller item is faster than its fastest saving to a larger one,
    and this slowest saving is the rate of the step that leads to it. Both are extremes over all pairs of items: ``O(N·K²)``
    in passes over whole arrays, without a loop over the classes.

    Args:
        problem: its first row of sizes is walked; budgets are not read.
    """
    items = sort_items(problem)
    exponent = _extreme_exponent(items.loss)
    loss = np.ldexp(items.loss, -exponent) if exponent else items.loss
    rates, corner = np.empty(loss.shape), np.empty(loss.shape, dtype=np.bool_)
    for block in blocks_of(*loss.shape):
        _find_corners(loss[:, block], items.size[:, block], rates[:, block], corner[:, block])
    return measure_steps(items, corner, rates, exponent)


def _extreme_exponent(loss: Floats) -> int:
    """Power of two to divide by before rates are taken; 0 where no rate can vanish."""
    exponent = int(np.frexp(max(loss.max(initial=0.0), -loss.min(initial=0.0)))[1])
    return exponent if exponent < EXTREME else 0


def _find_corners(loss: Floats, size: Integers, rate: Floats, corner: NDArray[np.bool_]) -> None:
    """Write the rate of the step that leads to each item, and which items are corners (the smallest always is)."""
    width = (size - size[0]).astype(np.float64)
    distinct = bool((width[1:] > width[:-1]).all())
    rate[:] = np.inf
    onward = np.zeros(loss.shape)
    for apart in range(1, loss.shape[0]):
        saving = loss[:-apart] - loss[apart:]
        further = width[apart:] - width[:-apart]
        saving /= further if distinct else np.maximum(further, 0.5)  # of equal sizes the later item saves nothing
        np.minimum(rate[apart:], saving, out=rate[apart:])
        np.maximum(onward[:-apart], saving, out=onward[:-apart])
    np.greater(rate, onward, out=corner)
