"""The inverse question: the fewest stored bits whose predicted loss keeps a limit, with the proof that fewer cannot."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import solvers
from planner.build import Classes, GroupCurves
from planner.errors import CountConflictError, LossBelowFloorError, UnsolvedError
from planner.solving.plan import Solved
from sensitivity.formats.abstract import AbstractFormat

SolveAt = Callable[[int, float | None], Solved]
"""The plan of least objective within so many bits, looked for so many seconds; ``None``: as long as one plan may take."""


@dataclass(frozen=True, slots=True, eq=False)
class Smallest:
    """The smallest plan that was found, and how much smaller one could be.

    Attributes:
        solved: the plan of least objective within its own bits.
        least_bits: no plan of fewer bits keeps the limit; equal to ``solved.size_bits`` where that is proven.
        solves: how many budgets were tried, those among them that no plan keeps, or that there was no time for.
    """

    solved: Solved
    least_bits: int
    solves: int

    @property
    def is_proven(self) -> bool:
        """No smaller plan keeps the limit."""
        return self.least_bits == self.solved.size_bits


def smallest_plan(
    classes: Classes[AbstractFormat],
    curves: GroupCurves,
    most_loss: float,
    budget_bits: int,
    solve: SolveAt,
    stop: solvers.Deadline,
) -> Smallest:
    """Bisect the budget: a larger one never has a larger least objective, and every solve is proven or says its bound.

    Budgets are tried in steps of the greatest common divisor of all differences of sizes, between which no plan lies. A solve
    that is over the limit while its bound is not decides nothing below it; then, and past the deadline, a bracket is left.
    The first solve has the time of a plan, all others what is left: one that ends without a plan ends the search, and the
    smallest plan so far stays.

    Args:
        classes: layer groups.
        curves: their losses.
        most_loss: greatest objective (loss, and caution × standard error).
        budget_bits: the most that is allowed; any assignment's size where nothing limits it.
        solve: how a budget is answered; with every other limit.
        stop: after it the smallest plan so far is taken.

    Raises:
        CountConflictError: no plan within ``budget_bits`` keeps the other limits.
        UnsolvedError: ``budget_bits`` itself was not answered in time.
        LossBelowFloorError: no plan within ``budget_bits`` keeps the limit.
    """
    best = solve(budget_bits, None)
    solves = 1
    if best.proved.objective > most_loss:
        _refuse(most_loss, best)
    step = size_step(classes, curves)
    base = smallest = classes.smallest_bits
    low, high = -1, (best.size_bits - base) // step  # in steps above the smallest assignment: ``high`` keeps the limit
    proven = low
    while high - low > 1 and not stop.passed():
        middle = (low + high) // 2
        solves += 1
        try:
            found = solve(base + middle * step, stop.remaining())
        except CountConflictError:  # the other limits cannot be kept within so few bits
            low = proven = middle
            continue
        except UnsolvedError:  # no plan and no proof in the time that was left
            break
        if found.proved.objective <= most_loss:
            best, high = found, (found.size_bits - base) // step
        else:
            low = middle
            if found.proved.lower_bound > most_loss:
                proven = middle
    if best.size_bits < best.budget_bits and not stop.passed():
        solves += 1
        best = _without_slack(best, most_loss, solve, stop)
    least = base + (proven + 1) * step if proven >= 0 else smallest
    return Smallest(best, min(least, best.size_bits), solves)


def _without_slack(best: Solved, most_loss: float, solve: SolveAt, stop: solvers.Deadline) -> Solved:
    """The best plan of its own bits, so that its bound is of these; the plan itself where there is no time for that."""
    try:
        exact = solve(best.size_bits, stop.remaining())
    except UnsolvedError:
        return best
    return exact if exact.proved.objective <= most_loss else best


def size_step(classes: Classes[AbstractFormat], curves: GroupCurves) -> int:
    """Greatest common divisor of the differences of sizes within each group, in bits; 1 where there are none."""
    offered = classes.legal & np.isfinite(curves.loss)
    least = np.where(offered, classes.sizes, np.iinfo(np.int64).max).min(axis=1, keepdims=True, initial=2**62)
    differences = np.where(offered, classes.sizes - least, 0)
    return max(1, int(np.gcd.reduce(differences, axis=None))) if differences.size else 1


def _refuse(most_loss: float, best: Solved) -> None:
    proved = best.proved
    msg = (
        f"no plan loses {most_loss:.6g} or less: the least that these formats and limits allow is {proved.objective:.6g}. "
        f"Raise max_loss or the other limits, or add larger formats"
    )
    raise LossBelowFloorError(msg, smallest_feasible=proved.objective, unit="max_loss")
