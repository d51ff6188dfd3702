"""The core as an integer program, for HiGHS, when the list search outgrows its limit; libraries are loaded here, not before."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.highs import milp
from solvers.solver import Deadline

if TYPE_CHECKING:
    from scipy.optimize import LinearConstraint

OBJECTIVE_SCALE = 1e4  # one gap of the incumbent in the objective: HiGHS's absolute tolerance of 1e-6 is then 1e-10 of it
LARGEST_COEFFICIENT = 1e7  # of a capacity row


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One budget as the moves of the core see it.

    Attributes:
        size: int64 ``[M]``, exact change of size of each move.
        slack: what the changes may add up to; negative when they must give something back.
        unit: a common divisor of all changes.
    """

    size: Integers
    slack: int
    unit: int


@dataclass(frozen=True, slots=True, eq=False)
class ProgramResult:
    """What HiGHS made of the core.

    Attributes:
        chosen: moves that beat the incumbent and keep every row exactly, int64; ``None`` when there are none.
        proven: HiGHS closed its tree, and what it calls best keeps every row in exact integers.
        nodes: branch-and-bound nodes.
    """

    chosen: Integers | None
    proven: bool
    nodes: int


def solve_core_program(
    klass: Integers, value: Floats, rows: list[Row], *, base: float, gap: float, max_nodes: int, deadline: Deadline
) -> ProgramResult:
    """Minimise ``Σ value·x`` over the moves, one a class at most, with every row within its slack.

    The objective is counted in gaps of the incumbent: HiGHS's tolerances are absolute, and unscaled losses below them give
    wrong answers with status optimal. Sizes are divided by their unit. Feasibility is judged here, in integers.

    Args:
        klass: class of each move, int64 ``[M]``.
        value: what each move adds to the gap, float64 ``[M]``.
        rows: the budgets.
        base: gap without any move (of a choice that need not keep the budgets).
        gap: gap of the incumbent, > 0; only a smaller one counts.
        max_nodes: limit of the tree, the same on every machine.
        deadline: wall-clock limit.
    """
    from scipy.optimize import Bounds

    options: dict[str, float | int] = {"mip_rel_gap": 0.0, "node_limit": max_nodes}
    if deadline.remaining() < np.inf:
        options["time_limit"] = deadline.remaining()
    result = milp(
        value * (OBJECTIVE_SCALE / gap),
        integrality=np.ones(klass.shape[0]),
        bounds=Bounds(0, 1),
        constraints=[_one_each(klass), *map(_capacity, rows)],
        options=options,
    )
    nodes = result.mip_node_count
    if result.x is None:
        return ProgramResult(None, proven=result.status == 2 and _needs_moves(rows), nodes=nodes)
    chosen = np.flatnonzero(result.x > 0.5)
    if not _keeps_rules(klass, rows, chosen):
        return ProgramResult(None, proven=False, nodes=nodes)
    better = base + float(value[chosen].sum()) < gap
    return ProgramResult(chosen if better else None, proven=result.status == 0, nodes=nodes)


def _capacity(row: Row) -> "LinearConstraint":
    from scipy.optimize import LinearConstraint

    steps = row.size // row.unit
    shrink = max(float(np.abs(steps).max()) / LARGEST_COEFFICIENT, 1.0)
    return LinearConstraint((steps / shrink)[None, :], ub=row.slack // row.unit / shrink)


def _one_each(klass: Integers) -> "LinearConstraint":
    from scipy.optimize import LinearConstraint
    from scipy.sparse import coo_array

    _, row = np.unique(klass, return_inverse=True)
    return LinearConstraint(coo_array((np.ones(klass.shape[0]), (row, np.arange(klass.shape[0])))).tocsr(), ub=1)


def _needs_moves(rows: list[Row]) -> bool:
    """The choice without moves breaks a budget, so that a program without solution says: nothing beats the incumbent."""
    return any(row.slack < 0 for row in rows)


def _keeps_rules(klass: Integers, rows: list[Row], chosen: Integers) -> bool:
    taken = klass[chosen]
    return np.unique(taken).shape[0] == taken.shape[0] and all(int(row.size[chosen].sum()) <= row.slack for row in rows)
