"""HiGHS for mixed-integer programs, through highspy.

``scipy.optimize.milp`` holds the same solver, but its HiGHS writes lines to the C standard output that no option turns off, in
the middle of whatever the process prints there. The arguments are scipy's, so that either can take the place of the other.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import Floats

if TYPE_CHECKING:
    from scipy.optimize import Bounds, LinearConstraint

OPTIONS = {"mip_rel_gap": "mip_rel_gap", "node_limit": "mip_max_nodes", "time_limit": "time_limit"}
OPTIMAL, LIMIT, INFEASIBLE, UNBOUNDED, OTHER = range(5)


@dataclass(frozen=True, slots=True, eq=False)
class MilpResult:
    """How HiGHS ended, in the words of ``scipy.optimize.milp``.

    Attributes:
        x: float64, values of the variables; ``None`` when no feasible point is known.
        status: 0 optimal, 1 a limit, 2 infeasible, 3 unbounded, 4 anything else.
        mip_node_count: nodes of the tree.
        mip_dual_bound: no solution has a smaller objective; ``-inf`` when nothing is known.
    """

    x: Floats | None
    status: int
    mip_node_count: int
    mip_dual_bound: float


def milp(
    c: Floats,
    *,
    integrality: ArrayLike,
    bounds: "Bounds",
    constraints: "Sequence[LinearConstraint]",
    options: Mapping[str, float | int],
) -> MilpResult:
    """Minimise ``c·x`` with some of the x whole, one thread, the same on every machine but for a time limit.

    Args:
        c: float64 ``[V]``, finite.
        integrality: ``[V]``, not 0 where the variable is whole.
        bounds: of the variables, one number for all or ``[V]``.
        constraints: rows with their limits, dense or sparse matrices of V columns.
        options: ``mip_rel_gap``, ``node_limit`` and ``time_limit`` (seconds).
    """
    import highspy

    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("parallel", "off")
    for name, value in options.items():
        highs.setOptionValue(OPTIONS[name], min(value, 2**31 - 1) if name == "node_limit" else float(value))
    highs.passModel(_model(highspy, c, np.asarray(integrality), bounds, constraints))
    highs.run()
    status, info = highs.getModelStatus(), highs.getInfo()
    known = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible and math.isfinite(
        info.objective_function_value
    )
    bound = float(info.mip_dual_bound)
    return MilpResult(
        x=np.array(highs.getSolution().col_value) if known else None,
        status=_status(highspy, status),
        mip_node_count=max(int(info.mip_node_count), 0),
        mip_dual_bound=bound if abs(bound) < math.inf else -math.inf,
    )


def _model(highspy: Any, c: Floats, whole: Any, bounds: "Bounds", constraints: "Sequence[LinearConstraint]") -> Any:
    from scipy.sparse import csr_array, vstack

    count = c.shape[0]
    parts = [csr_array(np.atleast_2d(row.A) if isinstance(row.A, np.ndarray) else row.A) for row in constraints]
    matrix = vstack(parts).tocsr()
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = count, matrix.shape[0]
    model.col_cost_ = c
    model.col_lower_, model.col_upper_ = _spread(bounds.lb, count), _spread(bounds.ub, count)
    heights = [part.shape[0] for part in parts]
    model.row_lower_ = np.concatenate([_spread(row.lb, height) for row, height in zip(constraints, heights, strict=True)])
    model.row_upper_ = np.concatenate([_spread(row.ub, height) for row, height in zip(constraints, heights, strict=True)])
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_, model.a_matrix_.index_, model.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
    kinds = highspy.HighsVarType
    model.integrality_ = [kinds.kInteger if w else kinds.kContinuous for w in np.broadcast_to(whole, count).tolist()]
    return model


def _spread(limit: ArrayLike, count: int) -> Floats:
    return np.broadcast_to(np.asarray(limit, dtype=np.float64), count).copy()


def _status(highspy: Any, status: Any) -> int:
    kinds = highspy.HighsModelStatus
    return {
        kinds.kOptimal: OPTIMAL,
        kinds.kModelEmpty: OPTIMAL,
        kinds.kTimeLimit: LIMIT,
        kinds.kIterationLimit: LIMIT,
        kinds.kSolutionLimit: LIMIT,
        kinds.kInterrupt: LIMIT,
        kinds.kInfeasible: INFEASIBLE,
        kinds.kUnbounded: UNBOUNDED,
    }.get(status, OTHER)
