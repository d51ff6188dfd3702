"""General solvers on the whole model, as references: HiGHS through scipy, and CP-SAT. CPU time, all threads counted."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from ortools.sat.python import cp_model
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from solvers import Problem

T = TypeVar("T")

GAP = 1e-9  # relative, asked of both
HIGHS_SCALE = 1e4  # what the losses add up to: its tolerances are absolute
HIGHS_UNIT = 100.0  # of the sizes: with the largest coefficient at 1, what it calls optimal can be over the budget
CP_SAT_SCALE = 1e12


@dataclass(frozen=True, slots=True)
class Reference:
    """What a general solver made of a problem.

    Attributes:
        milliseconds: CPU time of building and solving.
        loss: of its choice; ``inf`` when it found none.
        proven: it says that nothing better exists.
    """

    milliseconds: float
    loss: float
    proven: bool


def cpu_milliseconds(work: Callable[[], T], repeats: int = 1) -> tuple[float, T]:
    """The best of some runs, and what the last one returned."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        result = work()
        times.append((time.process_time() - started) * 1e3)
    return min(times), result


def highs(problem: Problem, *, seconds: float = 60.0) -> Reference:
    """All N·K variables in ``scipy.optimize.milp``; every loss allowed."""
    return _timed(problem, lambda: _highs(problem, seconds))


def cp_sat(problem: Problem, *, seconds: float = 60.0) -> Reference:
    """All N·K variables in CP-SAT with two workers, losses as whole numbers above the least of their class."""
    return _timed(problem, lambda: _cp_sat(problem, seconds))


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """scipy's HiGHS writes a line to the C standard output now and then, which no option turns off."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _timed(problem: Problem, work: Callable[[], tuple[np.ndarray | None, bool]]) -> Reference:
    with _silence():
        milliseconds, (choice, proven) = cpu_milliseconds(work)
    loss = np.inf if choice is None else float(problem.loss[np.arange(problem.classes), choice].sum())
    return Reference(milliseconds, loss, proven)


def _highs(problem: Problem, seconds: float) -> tuple[np.ndarray | None, bool]:
    classes, cells = problem.classes, problem.loss.size
    scale = HIGHS_SCALE / problem.loss.min(axis=1).sum()
    one_each = csr_array((np.ones(cells), (np.repeat(np.arange(classes), problem.items), np.arange(cells))))
    sizes = csr_array(problem.sizes.reshape(len(problem.budgets), cells) / HIGHS_UNIT)
    result = milp(
        problem.loss.ravel() * scale,
        integrality=np.ones(cells),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(sizes, ub=problem.budgets / HIGHS_UNIT)],
        options={"mip_rel_gap": GAP, "time_limit": seconds},
    )
    if result.x is None:
        return None, False
    return result.x.reshape(problem.loss.shape).argmax(axis=1), result.status == 0


def _cp_sat(problem: Problem, seconds: float) -> tuple[np.ndarray | None, bool]:
    above = problem.loss - problem.loss.min(axis=1, keepdims=True)
    costs = np.rint(above * (CP_SAT_SCALE / above.max(axis=1).sum())).astype(np.int64)
    model = cp_model.CpModel()
    cells = [[model.new_bool_var("") for _ in range(problem.items)] for _ in range(problem.classes)]
    for row in cells:
        model.add_exactly_one(row)
    flat = [cell for row in cells for cell in row]
    for sizes, budget in zip(problem.sizes, problem.budgets.tolist(), strict=True):
        model.add(cp_model.LinearExpr.weighted_sum(flat, sizes.ravel().tolist()) <= budget)
    model.minimize(cp_model.LinearExpr.weighted_sum(flat, costs.ravel().tolist()))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 2
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.relative_gap_limit = GAP
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None, False
    return np.array([[solver.boolean_value(cell) for cell in row] for row in cells]).argmax(axis=1), status == cp_model.OPTIMAL
