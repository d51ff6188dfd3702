"""From a fractional optimum to a plan that keeps every budget."""

import itertools
from collections.abc import Iterator

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.dominance import undominated
from solvers.highs import milp
from solvers.problem import Problem, class_minima, total_loss, total_sizes
from solvers.repair import improve, keep_budgets
from solvers.solver import Deadline

SPLIT = 4  # most classes whose two largest shares are both tried, in all combinations
SHARED = 1e-3  # second largest share from which on a class counts as split
IMPROVED = 4  # of the repaired starts, those of least loss
SEARCH_NODES = 2_000  # of the integer program that looks for any feasible plan when every repair got stuck
COEFFICIENT = 1e6  # largest in a row of that program: HiGHS's feasibility tolerance of 1e-6 is then one unit or less


def round_shares(problem: Problem, share: Floats, multipliers: Floats, deadline: Deadline) -> Integers | None:
    """A feasible choice near fractional shares, then improved; ``None`` when none is found.

    The relaxation splits few classes, and which item a large one of them gets decides what is left to the others: each
    combination of their two largest shares is a start that repair may not undo. The best repaired starts are improved. If
    none can be repaired, the items that take least of all budgets together are tried, and then HiGHS looks for any plan.

    Args:
        problem: its losses are what is improved.
        share: float64 ``[N, K]``.
        multipliers: float64 ``[R]``.
        deadline: after it the first feasible choice is handed in as it is.
    """
    found: dict[bytes, Integers] = {}
    for start in _starts(problem, share, multipliers):
        if start is not None:
            found.setdefault(start.tobytes(), start)
            if deadline.passed():
                return start
    if not found:
        choice = keep_budgets(problem, _least_taken(problem), multipliers)
        if choice is None and not deadline.passed():
            choice = search_feasible(problem, deadline)
        return None if choice is None else improve(problem, choice, multipliers)
    nearest = sorted(found.values(), key=lambda choice: total_loss(problem, choice))[:IMPROVED]
    return min((improve(problem, choice, multipliers) for choice in nearest), key=lambda choice: total_loss(problem, choice))


def _starts(problem: Problem, share: Floats, multipliers: Floats) -> Iterator[Integers | None]:
    """The repaired largest shares, then the repaired combinations of the classes that are split most; ``None`` if stuck."""
    order = np.argsort(np.where(problem.allowed(), -share, np.inf), axis=1, kind="stable")[:, :2]
    first = order[:, 0]
    yield keep_budgets(problem, first, multipliers)
    if problem.items < 2:
        return
    rows = np.arange(problem.classes)
    second_share = np.where(problem.allowed()[rows, order[:, 1]], share[rows, order[:, 1]], 0.0)
    split = np.argsort(-second_share, kind="stable")[: min(len(multipliers) + 1, SPLIT)]
    split = split[second_share[split] > SHARED]
    for turned in itertools.product((0, 1), repeat=split.shape[0]):
        start = first.copy()
        start[split] = order[split, turned]
        yield keep_budgets(_locked(problem, split, start[split]), start, multipliers)


def _locked(problem: Problem, classes: Integers, items: Integers) -> Problem:
    """The problem in which some classes may take one item only."""
    loss = problem.loss.copy()
    loss[classes] = np.inf
    loss[classes, items] = problem.loss[classes, items]
    return Problem(loss, problem.sizes, problem.budgets)


def _least_taken(problem: Problem) -> Integers:
    excess = problem.sizes - class_minima(problem)[:, :, None]
    room = np.maximum(problem.budgets - class_minima(problem).sum(axis=1), 1).astype(np.float64)
    least: Integers = np.where(problem.allowed(), (excess / room[:, None, None]).max(axis=0), np.inf).argmin(axis=1)
    return least


def search_feasible(problem: Problem, deadline: Deadline) -> Integers | None:
    """A plan that keeps every budget in exact integers, by HiGHS within ``SEARCH_NODES`` nodes; ``None`` when it has none."""
    from scipy.optimize import Bounds, LinearConstraint
    from scipy.sparse import csr_array

    klass, item = np.nonzero(undominated(problem))
    variables = np.arange(klass.shape[0])
    excess = (problem.sizes - class_minima(problem)[:, :, None])[:, klass, item].astype(np.float64)
    room = (problem.budgets - class_minima(problem).sum(axis=1)).astype(np.float64)
    largest = np.maximum(excess.max(axis=1, initial=0.0), 1.0) / COEFFICIENT
    one_each = csr_array((np.ones(klass.shape[0]), (klass, variables)), shape=(problem.classes, klass.shape[0]))
    options: dict[str, float | int] = {"node_limit": SEARCH_NODES}
    if deadline.remaining() < np.inf:
        options["time_limit"] = deadline.remaining()
    result = milp(
        excess.T @ (1.0 / np.maximum(room, 1.0)),
        integrality=np.ones(klass.shape[0]),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(excess / largest[:, None], ub=room / largest)],
        options=options,
    )
    if result.x is None:
        return None
    chosen = np.flatnonzero(result.x > 0.5)
    choice = np.full(problem.classes, -1, dtype=np.int64)
    choice[klass[chosen]] = item[chosen]
    keeps = bool((choice >= 0).all()) and bool((total_sizes(problem, choice) <= problem.budgets).all())
    return choice if keeps else keep_budgets(problem, np.maximum(choice, 0), np.zeros(room.shape[0]))
