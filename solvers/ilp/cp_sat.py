"""The core in OR-tools CP-SAT: exact integers throughout, losses as whole multiples of a power of two."""

import math
from typing import Any

import numpy as np

from solvers.arrays import Integers
from solvers.ilp.program import Effort, Outcome, Program, ProgramRow

LARGEST_COST = 2.0**52  # of all classes together: rounding costs 2^-53 of it a class
LARGEST_ROW = 2**61  # what the coefficients of a row may add up to; CP-SAT refuses 2^62


def solve_by_cp_sat(program: Program, effort: Effort) -> Outcome:
    """Minimise the whole costs; the status OPTIMAL is exact for them, so that the loss is within ``Outcome.error``.

    One worker and a limit in deterministic time give the same answer on every machine. A row past int64 is divided and
    rounded down, which loosens it; the caller judges the exact rows.
    """
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    columns = [model.new_bool_var("") for _ in range(program.columns + program.helpers)]
    for group in np.split(np.arange(program.columns), np.flatnonzero(np.diff(program.klass)) + 1):
        model.add_exactly_one([columns[c] for c in group.tolist()])
    for row in program.rows:
        _add_row(model, columns, row)
    costs, error = _whole_costs(program)
    used = np.flatnonzero(costs)
    model.minimize(cp_model.LinearExpr.weighted_sum([columns[c] for c in used.tolist()], costs[used].tolist()))
    if program.hint is not None:
        taken = set(program.hint.tolist())
        for c in range(program.columns):
            model.add_hint(columns[c], c in taken)
    solver = _solver(effort)
    status = solver.solve(model)
    nodes = int(solver.num_branches)
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        values = np.array([solver.boolean_value(column) for column in columns[: program.columns]])
        return Outcome(np.flatnonzero(values), closed=status == cp_model.OPTIMAL, nodes=nodes, error=error)
    return Outcome(None, closed=status == cp_model.INFEASIBLE, nodes=nodes)


def _solver(effort: Effort) -> Any:
    from ortools.sat.python import cp_model

    solver = cp_model.CpSolver()
    parameters = solver.parameters
    parameters.num_workers = effort.workers
    parameters.random_seed = effort.seed
    parameters.max_deterministic_time = effort.time
    parameters.presolve_inclusion_work_limit = 0  # this presolve of 9.15 loses solutions and "proves" worse ones (issue 5293)
    if effort.seconds < math.inf:
        parameters.max_time_in_seconds = effort.seconds
    return solver


def _add_row(model: Any, columns: list[Any], row: ProgramRow) -> None:
    from ortools.sat.python import cp_model

    total = sum(abs(value) for value in row.values.tolist()) + abs(row.room)
    shift = max((total // LARGEST_ROW).bit_length(), 0)
    weights = (row.values >> shift).tolist()
    model.add(cp_model.LinearExpr.weighted_sum([columns[c] for c in row.columns.tolist()], weights) <= row.room >> shift)


def _whole_costs(program: Program) -> tuple[Integers, float]:
    """Losses as whole numbers, and what rounding can make of the difference between two choices."""
    largest = np.zeros(int(program.klass.max(initial=-1)) + 1)
    np.maximum.at(largest, program.klass, program.loss)
    total = float(largest.sum())
    exponent = math.frexp(LARGEST_COST / total)[1] - 1 if total > 0 else 0
    scaled = np.ldexp(program.loss, exponent)
    whole = np.rint(scaled)
    off = np.zeros_like(largest)
    np.maximum.at(off, program.klass, np.abs(whole - scaled))
    return whole.astype(np.int64), 2.0 * math.ldexp(float(off.sum()), -exponent)
