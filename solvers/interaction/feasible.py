"""A good choice under several budgets at once, by HiGHS."""

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.highs import milp
from solvers.problem import Problem, class_minima, total_sizes
from solvers.solution import Status
from solvers.solver import Answer, Deadline

INFEASIBLE = 2  # status of milp
SECONDS = 1.0  # a first choice may take this long past the deadline


def find_feasible(problem: Problem, deadline: Deadline) -> Answer:
    """A choice of small additive loss within all budgets, checked in integers; INFEASIBLE or FAILED when there is none."""
    from scipy.optimize import Bounds, LinearConstraint
    from scipy.sparse import csr_array

    i, k = np.nonzero(problem.allowed())
    cost = problem.loss[i, k]
    scale = float(np.abs(cost).max(initial=0.0)) or 1.0
    smallest = class_minima(problem)
    rows = (problem.sizes - smallest[:, :, None])[:, i, k].astype(np.float64)
    units = np.maximum(rows.max(axis=1) / 1e6, 1.0)
    one_each = csr_array((np.ones(i.shape[0]), (i, np.arange(i.shape[0]))), shape=(problem.classes, i.shape[0]))
    room = (problem.budgets - smallest.sum(axis=1)) / units
    options: dict[str, float | int] = {"mip_rel_gap": 1e-4, "node_limit": 1_000}
    if deadline.remaining() < np.inf:
        options["time_limit"] = max(deadline.remaining(), SECONDS)
    result = milp(
        cost / scale * 1e4,
        integrality=np.ones(i.shape[0]),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(rows / units[:, None], ub=room)],
        options=options,
    )
    if result.status == INFEASIBLE:
        return Answer(Status.INFEASIBLE, None, reason="no choice keeps all budgets together; raise one of them")
    choice = None if result.x is None else _rounded(problem, i, k, result.x)
    if choice is None or (total_sizes(problem, choice) > problem.budgets).any():
        return Answer(Status.FAILED, None, reason="HiGHS found no choice within all budgets; give more time, or use Ilp()")
    return Answer(Status.FEASIBLE, choice)


def _rounded(problem: Problem, klass: Integers, item: Integers, values: Floats) -> Integers:
    taken = np.zeros(problem.loss.shape)
    taken[klass, item] = values
    choice: Integers = taken.argmax(axis=1)
    return choice
