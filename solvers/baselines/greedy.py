"""Greedy choices: steps of falling value, taken while they fit."""

from dataclasses import dataclass

import numpy as np

from solvers.arrays import Integers
from solvers.baselines.measures import rate, room_above_smallest
from solvers.hulls.hull import walk_hulls
from solvers.hulls.steps import Steps, measure_steps, sort_items, undominated
from solvers.problem import Problem
from solvers.solution import Status
from solvers.solver import AbstractSolver, Answer, Deadline


@dataclass(frozen=True, slots=True)
class HullGreedy(AbstractSolver):
    """Steps along the convex hulls by loss saved per unit of size, then whatever later step still fits.

    The greedy of Sinha and Zoltners (1979). Its multiplier is that of the LP optimum, so its gap is the honest distance to
    the LP bound; it never closes it. Take it as a baseline: ``Mckp`` costs little more and proves its answer.
    """

    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        """The greedy choice and the LP multiplier."""
        return _along_hulls(problem, fill=True)


@dataclass(frozen=True, slots=True)
class LpRounding(AbstractSolver):
    """The LP optimum with its one fractional class rounded down; the rest of the budget stays unused.

    The bound is that of the LP. What rounding loses is at most one step, which is little with many classes and much with few.
    """

    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        """The LP choice rounded down, and the LP multiplier."""
        return _along_hulls(problem, fill=False)


@dataclass(frozen=True, slots=True)
class AdjacentGreedy(AbstractSolver):
    """From the smallest items always the step to the next larger undominated item that saves most loss per unit of size.

    It is here to show what the hull is for: a class whose next item lies above its hull waits behind that poor step, however
    good the step after it is. It proves nothing: its bound is Σ_i min_k loss.
    """

    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        """The greedy choice.

        Always taking the best next step is the same as taking all steps in the order of the poorest step up to each.
        """
        items = sort_items(problem)
        kept = undominated(items)
        poorest = np.full(kept.shape, np.inf)
        row, loss, size = poorest[0], items.loss[0].copy(), items.size[0].copy()
        for place in range(1, kept.shape[0]):
            row = np.where(kept[place], np.minimum(row, rate(loss - items.loss[place], items.size[place] - size)), row)
            poorest[place] = row
            np.copyto(loss, items.loss[place], where=kept[place])
            np.copyto(size, items.size[place], where=kept[place])
        steps = measure_steps(items, kept, poorest).in_order()
        return Answer(Status.FEASIBLE, take_while_fitting(steps, room_above_smallest(problem), fill=True))


def take_while_fitting(steps: Steps, room: int, *, fill: bool) -> Integers:
    """The choice after all steps before the first that does not fit; with ``fill`` later ones too, where they fit.

    Args:
        steps: in the order in which they are tried.
        room: size that may be added to the smallest items.
        fill: go on after the first that does not fit.
    """
    used = np.cumsum(steps.grown)
    whole = int(np.searchsorted(used, room, side="right"))
    choice, item = steps.grid.start, steps.item(slice(None))
    choice[steps.klass[:whole]] = item[:whole]  # of repeated classes the last, largest item stays
    if not fill:
        return choice
    slack, previous = room - (int(used[whole - 1]) if whole else 0), steps.previous(slice(None))
    for s in (whole + np.flatnonzero(steps.grown[whole:] <= slack)).tolist():
        if steps.grown[s] <= slack and choice[steps.klass[s]] == previous[s]:
            choice[steps.klass[s]] = item[s]
            slack -= int(steps.grown[s])
    return choice


def _along_hulls(problem: Problem, *, fill: bool) -> Answer:
    steps, room = walk_hulls(problem), room_above_smallest(problem)
    broken = int(np.searchsorted(np.cumsum(steps.grown), room, side="right"))
    price = steps.value(slice(broken, broken + 1)) if broken < steps.count else np.zeros(1)
    return Answer(Status.FEASIBLE, take_while_fitting(steps, room, fill=fill), price)
