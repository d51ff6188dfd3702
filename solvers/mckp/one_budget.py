"""One budget: from the LP optimum to a proved choice."""

import math
from dataclasses import replace

import numpy as np

from solvers.arrays import Integers
from solvers.mckp.core import Core, gather_core
from solvers.mckp.core_program import Row, solve_core_program
from solvers.mckp.dual import Dual, solve_dual
from solvers.mckp.excess import Excess
from solvers.mckp.limits import Limits
from solvers.mckp.list_pairs import join_lists
from solvers.mckp.list_search import Found, search_core
from solvers.mckp.moves import Corner, Moves, corner_at, fill_ties, first_limit, improve_by_pairs, moves_within
from solvers.problem import Problem, total_loss
from solvers.solution import Stats, Status
from solvers.solver import Answer, Deadline

LONG_LIST = 100_000  # states after which a better incumbent is looked for first
LONGER_LIST = 800_000  # and after which it is looked for harder
WIDTH = 256


def find_corner(excess: Excess, dual: Dual | None = None) -> Corner:
    """The LP choice that keeps the capacity, in exact integers.

    Kelley's method adds sizes in float64. Where totals pass 2^53 its choice may end a rounding error over the capacity; it is
    then asked again for a little less.

    Args:
        excess: the budget to keep.
        dual: where its LP relaxation breaks; by Kelley's method if it is not known.
    """
    room = float(excess.capacity)
    while True:
        dual = dual or solve_dual(excess, room)
        corner = corner_at(excess, dual.choice, dual.multiplier)
        if corner.slack >= 0:
            return corner
        room -= max(-4.0 * corner.slack, abs(room) * 2.0**-50)
        dual = None


def finish_corner(problem: Problem, excess: Excess, corner: Corner, limits: Limits, deadline: Deadline) -> Answer:
    """From the LP choice to the optimum, or to the incumbent when a limit or the deadline ends the search.

    Args:
        problem: its losses; of its budgets only the one of ``excess`` is kept.
        excess: that budget.
        corner: what ``find_corner`` found; changed in place.
        limits: of the search and the program.
        deadline: wall-clock limit.

    Returns:
        The answer, with one multiplier.
    """
    multipliers = np.ldexp(np.array([corner.multiplier]), excess.exponent)
    if corner.gap <= 0:
        return Answer(Status.OPTIMAL, corner.choice, multipliers, Stats(proof="search"))
    moves, gap, chosen = _first_incumbent(excess, corner)
    core = gather_core(corner, moves, gap)
    found = _search(corner, core, gap, limits, deadline)
    incumbent = apply_moves(corner.choice, found.chosen or chosen)
    answer = Answer(Status.OPTIMAL if found.finished else Status.LIMIT, incumbent, multipliers, _core_stats(core, found))
    if found.finished or limits.max_nodes == 0:
        return answer
    allowance = limits.program_gap * abs(total_loss(problem, incumbent))
    if math.ldexp(found.gap, excess.exponent) <= allowance or deadline.passed():
        return answer
    return _program(corner, core, found, answer, unit=excess.unit, limits=limits, deadline=deadline)


def apply_moves(choice: Integers, moves: Moves) -> Integers:
    """The choice after the moves; a copy."""
    moved = choice.copy()
    moved[moves.klass] = moves.item
    return moved


def _first_incumbent(excess: Excess, corner: Corner) -> tuple[Moves, float, Moves]:
    """The moves that can matter, the gap of a first incumbent, and the moves that make it."""
    limit = first_limit(excess, corner)
    moves = fill_ties(excess, corner, moves_within(excess, corner, limit))
    gap, chosen = improve_by_pairs(excess, corner, moves)
    if gap > limit:
        moves = moves_within(excess, corner, gap)
        gap, chosen = improve_by_pairs(excess, corner, moves)
    return moves, gap, chosen


def _search(corner: Corner, core: Core, gap: float, limits: Limits, deadline: Deadline) -> Found:
    """List search; when the list grows long, again from better incumbents, with fewer moves left.

    The incumbent of a narrow search is had for little; that of two lists joined costs as much as a long search, and only hard
    families need it.
    """
    found = search_core(corner, core, gap, max_states=min(limits.max_states, LONG_LIST), deadline=deadline)
    for improve, states in ((_narrowly, LONGER_LIST), (join_lists, limits.max_states)):
        if found.finished or limits.max_states <= LONG_LIST or deadline.passed():
            break
        better = _later(found, improve(corner, core, found.gap, deadline=deadline))
        core = gather_core(corner, core.moves, better.gap)
        found = _later(
            better, search_core(corner, core, better.gap, max_states=min(limits.max_states, states), deadline=deadline)
        )
    return found


def _narrowly(corner: Corner, core: Core, gap: float, *, deadline: Deadline) -> Found:
    return search_core(corner, core, gap, max_states=WIDTH * (core.count + 1), deadline=deadline, width=WIDTH)


def _later(first: Found, second: Found) -> Found:
    """Two searches, one after the other from what it found."""
    return Found(second.gap, second.chosen or first.chosen, finished=second.finished, states=first.states + second.states)


def _program(
    corner: Corner, core: Core, found: Found, answer: Answer, *, unit: int, limits: Limits, deadline: Deadline
) -> Answer:
    """Let HiGHS finish on what is left of the core."""
    rest = core.moves.pick(corner.cost + core.moves.cost < found.gap)
    if rest.count > limits.max_core:
        return answer
    value, rows = rest.cost - corner.multiplier * rest.size, [Row(rest.size, corner.slack, unit)]
    result = solve_core_program(
        rest.klass, value, rows, base=corner.gap, gap=found.gap, max_nodes=limits.max_nodes, deadline=deadline
    )
    choice = answer.choice if result.chosen is None else apply_moves(corner.choice, rest.pick(result.chosen))
    stats = replace(answer.stats, proof="milp" if result.proven else "", nodes=result.nodes)
    return Answer(Status.OPTIMAL if result.proven else Status.LIMIT, choice, answer.multipliers, stats)


def _core_stats(core: Core, found: Found) -> Stats:
    return Stats(
        proof="search" if found.finished else "",
        core_classes=core.classes,
        core_items=core.moves.count,
        states=found.states,
    )
