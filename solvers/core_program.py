"""The core as an integer program, for HiGHS, when the list search outgrows its limit."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from solvers.moves import Corner, Moves
from solvers.problem import Integers
from solvers.solver import Deadline

OBJECTIVE_SCALE = 1e4  # one gap of the incumbent in the objective: HiGHS's absolute tolerance of 1e-6 is then 1e-10 of it
LARGEST_COEFFICIENT = 1e7  # of the capacity row


@dataclass(frozen=True, slots=True, eq=False)
class ProgramResult:
    """What HiGHS made of the core.

    Attributes:
        chosen: moves that beat the incumbent and keep the capacity exactly; ``None`` when there are none.
        proven: HiGHS closed its tree, and what it calls best keeps the capacity in exact integers.
        nodes: branch-and-bound nodes.
    """

    chosen: Moves | None
    proven: bool
    nodes: int


def solve_core_program(
    corner: Corner, moves: Moves, gap: float, *, unit: int, max_nodes: int, deadline: Deadline
) -> ProgramResult:
    """Minimise ``Σ (cost − λ·size)·x`` over the moves, one a class at most, within the slack.

    The objective is counted in gaps of the incumbent: HiGHS's tolerances are absolute, and unscaled losses below them give
    wrong answers with status optimal. Sizes are divided by their unit. Feasibility is judged here, in integers.

    Args:
        corner: the LP choice that the moves start from.
        moves: what is left of the core.
        gap: gap of the incumbent, > 0.
        unit: common divisor of all size changes.
        max_nodes: limit of the tree, the same on every machine.
        deadline: wall-clock limit.
    """
    value = (moves.cost - corner.multiplier * moves.size) * (OBJECTIVE_SCALE / gap)
    options: dict[str, float | int] = {"mip_rel_gap": 0.0, "node_limit": max_nodes}
    if deadline.remaining() < np.inf:
        options["time_limit"] = deadline.remaining()
    result = milp(
        value, integrality=np.ones(moves.count), bounds=Bounds(0, 1), constraints=_rows(corner, moves, unit), options=options
    )
    nodes = int(getattr(result, "mip_node_count", 0) or 0)
    if result.x is None:
        return ProgramResult(None, proven=False, nodes=nodes)
    chosen = np.flatnonzero(result.x > 0.5)
    if not _keeps_rules(corner, moves, chosen):
        return ProgramResult(None, proven=False, nodes=nodes)
    reached = corner.gap + float((moves.cost[chosen] - corner.multiplier * moves.size[chosen]).sum())
    return ProgramResult(moves.pick(chosen) if reached < gap else None, proven=result.status == 0, nodes=nodes)


def _rows(corner: Corner, moves: Moves, unit: int) -> list[LinearConstraint]:
    steps = moves.size // unit
    shrink = max(float(np.abs(steps).max()) / LARGEST_COEFFICIENT, 1.0)
    _, row = np.unique(moves.klass, return_inverse=True)
    one_each = coo_array((np.ones(moves.count), (row, np.arange(moves.count))))
    return [
        LinearConstraint((steps / shrink)[None, :], ub=corner.slack // unit / shrink),
        LinearConstraint(one_each.tocsr(), ub=1),
    ]


def _keeps_rules(corner: Corner, moves: Moves, chosen: Integers) -> bool:
    klass = moves.klass[chosen]
    return np.unique(klass).shape[0] == klass.shape[0] and int(moves.size[chosen].sum()) <= corner.slack
