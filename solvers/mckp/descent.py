"""The LP optimum of every capacity at once: the steps along the lower convex hulls of all classes, in the order of their rates.

Where the LP relaxation of a capacity breaks is one search in the running sum of the steps' sizes (Sinha and Zoltners 1979, *The
multiple-choice knapsack problem*). Worth it while the problem is small, or is asked about again with other budgets; Kelley's
method of ``solvers.mckp.dual`` keeps nothing and gives the same numbers.
"""

from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.hulls.hull import walk_hulls
from solvers.mckp.dual import SAMPLED_FROM, Dual, least_loss, solve_dual
from solvers.mckp.excess import Excess
from solvers.problem import Problem

CLEAR = 1e-9
"""Relative difference of a step's rate from its neighbours', from which on it is no tie, whichever way the rates are rounded."""


@dataclass(frozen=True, slots=True, eq=False)
class Descent:
    """From the smallest items of all classes to those of least loss.

    Attributes:
        start: int64 ``[N]``, the smallest items, of equal sizes those of least loss.
        end: int64 ``[N]``, the smallest of the items without excess loss.
        klass: int64 ``[S]``, the class of each step.
        item: int64 ``[S]``, the item that the step leads to.
        taken: int64 ``[S]``, excess size after the step, exact.
        rate: float64 ``[S]``, excess loss that the step saves per unit of excess size; falling.
    """

    start: Integers
    end: Integers
    klass: Integers
    item: Integers
    taken: Integers
    rate: Floats


def find_dual(problem: Problem, excess: Excess) -> Dual:
    """Where the LP relaxation breaks: by the steps of small problems; by Kelley's method of large ones, and where rates tie."""
    if excess.classes >= SAMPLED_FROM:
        return solve_dual(excess)
    descent = problem.recall("descent", lambda same: _descend(same, excess))
    return _break(descent, excess.capacity) or solve_dual(excess)


def _descend(problem: Problem, excess: Excess) -> Descent:
    steps = walk_hulls(problem)
    every = slice(0, steps.count)
    item, before, klass = steps.item(every), steps.previous(every), steps.klass
    saved = excess.loss[before, klass] - excess.loss[item, klass]
    rate = saved / (excess.size[item, klass] - excess.size[before, klass])
    return Descent(steps.grid.start, least_loss(excess).choice, klass, item, np.cumsum(steps.grown), rate)


def _break(descent: Descent, capacity: int) -> Dual | None:
    """``None`` where the step at which the capacity ends has a rate too close to a neighbour's."""
    taken, rate = descent.taken, descent.rate
    if taken.shape[0] == 0 or int(taken[-1]) <= capacity:
        return Dual(0.0, descent.end.copy())
    at = int(np.searchsorted(taken, capacity, side="right"))
    near, here = rate[max(at - 1, 0) : at + 2].tolist(), float(rate[at])
    if sum(abs(other - here) <= CLEAR * here for other in near) > 1:
        return None
    choice = descent.start.copy()
    choice[descent.klass[:at]] = descent.item[:at]  # the steps of a class follow each other, and the last one stays
    return Dual(here, choice)
