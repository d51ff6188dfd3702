"""The core in HiGHS through highspy: floating point, so the caller judges what it calls optimal."""

import math

import numpy as np

from solvers.highs import milp
from solvers.ilp.program import Effort, Outcome, Program

OBJECTIVE_SCALE = 1e4  # one unit of loss in the objective: HiGHS's absolute tolerance of 1e-6 is then 1e-10 of it
FINEST = 1e-9  # of the largest loss: a unit below it would only make the numbers of the program large
SMALLEST = 1e-290  # unit, for losses next to nothing
ERROR = 1e-10  # of the largest loss: what HiGHS's tolerances are taken to cost; a program with greater losses is solved again
LARGEST_COEFFICIENT = 1e7  # of a row: scaled down to 1, what HiGHS calls optimal can break it


def solve_by_highs(program: Program, effort: Effort) -> Outcome:
    """Minimise the losses; optimal within HiGHS's tolerances.

    They are counted in gaps of the incumbent, or in units of the largest where that is less: under a poor bound the gap says
    nothing about the losses, and they would drown in the tolerances.
    """
    from scipy.optimize import Bounds

    total, largest = program.columns + program.helpers, float(program.loss.max())
    unit = max(min(program.gap, largest), FINEST * largest, SMALLEST)
    options: dict[str, float | int] = {"mip_rel_gap": 0.0, "node_limit": effort.nodes}
    if effort.seconds < math.inf:
        options["time_limit"] = effort.seconds
    result = milp(
        np.concatenate((program.loss * (OBJECTIVE_SCALE / unit), np.zeros(program.helpers))),
        integrality=np.ones(total),
        bounds=Bounds(0, 1),
        constraints=_constraints(program, total),
        options=options,
    )
    nodes = result.mip_node_count
    if result.x is None:
        return Outcome(None, closed=result.status == 2, nodes=nodes)
    chosen = np.flatnonzero(result.x[: program.columns] > 0.5)
    return Outcome(chosen, closed=result.status == 0, nodes=nodes, error=ERROR * largest)


def _constraints(program: Program, total: int) -> list[object]:
    from scipy.optimize import LinearConstraint
    from scipy.sparse import csr_array

    each = np.ones(program.columns)
    one_each = csr_array((each, (program.klass, np.arange(program.columns))), shape=(int(program.klass[-1]) + 1, total))
    constraints = [LinearConstraint(one_each, 1, 1)]
    if program.rows:
        shrinks = [max(float(np.abs(row.values).max()) / LARGEST_COEFFICIENT, 1.0) for row in program.rows]
        values = np.concatenate([row.values / shrink for row, shrink in zip(program.rows, shrinks, strict=True)])
        numbers = np.repeat(np.arange(len(program.rows)), [row.values.shape[0] for row in program.rows])
        columns = np.concatenate([row.columns for row in program.rows])
        rooms = [row.room / shrink for row, shrink in zip(program.rows, shrinks, strict=True)]
        constraints.append(
            LinearConstraint(csr_array((values, (numbers, columns)), shape=(len(rooms), total)), ub=np.array(rooms))
        )
    return constraints
