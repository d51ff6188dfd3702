"""Integer programs over the moves of a core, for HiGHS."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.highs import milp
from solvers.interaction.core import Core
from solvers.solver import Deadline

if TYPE_CHECKING:
    from scipy.optimize import LinearConstraint
    from scipy.sparse import csr_array

OBJECTIVE_SCALE = 1e4  # one gap of the incumbent in the objective: HiGHS's absolute tolerance of 1e-6 is then 1e-10 of it
LARGEST_COEFFICIENT = 1e7  # of a capacity row
WHOLE_TREE = 4_000  # coefficients of a program that may open all its nodes; a larger one may open fewer in proportion


@dataclass(frozen=True, slots=True, eq=False)
class ProgramAnswer:
    """What HiGHS made of one program.

    Attributes:
        chosen: the moves that it takes, int64; ``None`` when it found nothing that keeps the budgets exactly.
        bound: no answer of the program is below it, in units of the gap above the incumbent.
        closed: HiGHS searched its whole tree.
        nodes: branch-and-bound nodes.
    """

    chosen: Integers | None
    bound: float
    closed: bool
    nodes: int


@dataclass(frozen=True, slots=True, eq=False)
class LinearRows:
    """Rows over the moves and further variables: ``matrix·v ≤ upper``, or ``=`` where ``equal``."""

    matrix: "csr_array"
    upper: Floats
    equal: bool = False


def solve_moves(
    core: Core,
    objective: Floats,
    lower: Floats,
    upper: Floats,
    rows: list[LinearRows],
    *,
    max_nodes: int,
    deadline: Deadline,
) -> ProgramAnswer:
    """Minimise over the moves of a core, one a class at most and within the budgets, and further continuous variables.

    Args:
        core: the moves; they are the first variables.
        objective: float64 ``[V]``, in gaps of the incumbent; the incumbent itself, without a move, is at 0.
        lower: float64 ``[V]``, least value of each variable.
        upper: float64 ``[V]``, largest value.
        rows: further rows, over all V variables.
        max_nodes: limit of the tree, the same on every machine; lower for rows of more than ``WHOLE_TREE`` coefficients.
        deadline: wall-clock limit.
    """
    from scipy.optimize import Bounds, LinearConstraint

    coefficients = sum(row.matrix.nnz for row in rows)
    nodes = max(min(max_nodes, max_nodes * WHOLE_TREE // max(coefficients, 1)), 1)
    options: dict[str, float | int] = {"mip_rel_gap": 0.0, "node_limit": nodes}
    if deadline.remaining() < np.inf:
        options["time_limit"] = deadline.remaining()
    result = milp(
        objective * OBJECTIVE_SCALE,
        integrality=np.arange(objective.shape[0]) < core.count,
        bounds=Bounds(lower, upper),
        constraints=[
            *_own_rows(core, objective.shape[0]),
            *(LinearConstraint(row.matrix, row.upper if row.equal else -np.inf, row.upper) for row in rows),
        ],
        options=options,
    )
    nodes, reached = result.mip_node_count, result.mip_dual_bound / OBJECTIVE_SCALE
    if result.x is None:
        return ProgramAnswer(None, reached, closed=False, nodes=nodes)
    chosen = np.flatnonzero(result.x[: core.count] > 0.5)
    keeps = core.keeps_budgets(chosen)
    return ProgramAnswer(chosen if keeps else None, reached, closed=result.status == 0 and keeps, nodes=nodes)


def _own_rows(core: Core, variables: int) -> "list[LinearConstraint]":
    from scipy.optimize import LinearConstraint
    from scipy.sparse import csr_array

    moves = np.arange(core.count)
    _, row = np.unique(core.klass, return_inverse=True)
    one_each = csr_array((np.ones(core.count), (row, moves)), shape=(int(row.max(initial=-1)) + 1, variables))
    rows = [LinearConstraint(one_each, ub=1)]
    for size, slack in zip(core.size, core.slack.tolist(), strict=True):
        unit = int(np.gcd.reduce(size)) or 1
        steps = size // unit
        shrink = max(float(np.abs(steps).max(initial=0)) / LARGEST_COEFFICIENT, 1.0)
        capacity = csr_array((steps / shrink, (np.zeros(core.count, dtype=np.int64), moves)), shape=(1, variables))
        rows.append(LinearConstraint(capacity, ub=slack // unit / shrink))
    return rows
