"""The default solver: one budget, any number of classes, exact."""

import math
from dataclasses import dataclass, replace

import numpy as np

from solvers.core_program import solve_core_program
from solvers.dual import solve_dual
from solvers.errors import SettingError
from solvers.excess import Excess, measure_excess
from solvers.list_search import Core, Found, gather_core, search_core
from solvers.moves import Corner, Moves, best_pair, corner_at, fill_ties, first_limit, moves_within
from solvers.problem import Integers, Problem, total_loss
from solvers.solution import Stats, Status
from solvers.solver import AbstractSolver, Answer, Deadline

LONG_LIST = 200_000  # states after which a better incumbent is looked for first
WIDTH = 256


@dataclass(frozen=True, slots=True)
class Mckp(AbstractSolver):
    """Exact multiple-choice knapsack with one budget: the solver to take unless another is needed.

    LP bound by the Lagrangian dual, ties filled, best pair of moves, reduced-cost fixing, then an exhausted list search of
    the core; when its list outgrows the limit, HiGHS on the core. Prefer it over ``HullGreedy`` always; it proves what it
    says. It refuses more than one budget. Time is about five passes over the numbers plus the search, which is short unless
    losses follow sizes exactly.

    Attributes:
        max_states: partial choices that the search of the core may keep before HiGHS takes over (some 8 bytes each).
        max_nodes: branch-and-bound nodes that HiGHS may open on the core; 0 leaves HiGHS out. Unlike a time limit it ends at
            the same place on every machine; a node of a core of 600 moves takes some 6 ms.
        max_core: moves above which the core is not given to HiGHS.
        program_gap: HiGHS is not asked about a relative gap below this; the status is then LIMIT, with the gap.
    """

    max_states: int = 2_000_000
    max_nodes: int = 300
    max_core: int = 4_000
    program_gap: float = 1e-9

    def __post_init__(self) -> None:
        for name in ("max_states", "max_nodes", "max_core", "program_gap"):
            if not getattr(self, name) >= 0:
                msg = f"{name} is {getattr(self, name)}; give zero or more"
                raise SettingError(msg)

    def refusal(self, problem: Problem) -> str | None:
        """Refuses more than one budget."""
        if problem.budgets.shape[0] > 1:
            return (
                f"Mckp keeps one budget and the problem has {problem.budgets.shape[0]}; "
                "keep the one that binds, or use an integer-programming solver for several budgets"
            )
        return None

    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        """The optimum, or the incumbent when a limit or the deadline ended the search."""
        excess = measure_excess(problem)
        corner = _feasible_corner(problem, excess)
        multipliers = np.ldexp(np.array([corner.multiplier]), excess.exponent)
        if corner.gap <= 0:
            return Answer(Status.OPTIMAL, corner.choice, multipliers, Stats(proof="search"))
        moves, gap, chosen = _first_incumbent(problem, excess, corner)
        core = gather_core(corner, moves, gap)
        found = self._search(corner, core, gap, deadline)
        incumbent = _apply(corner, found.chosen or chosen)
        answer = Answer(Status.OPTIMAL if found.finished else Status.LIMIT, incumbent, multipliers, _core_stats(core, found))
        allowance = self.program_gap * abs(total_loss(problem, incumbent))
        if found.finished or self.max_nodes == 0 or math.ldexp(found.gap, excess.exponent) <= allowance or deadline.passed():
            return answer
        return self._program(corner, core, found, answer, excess.unit, deadline)

    def _search(self, corner: Corner, core: Core, gap: float, deadline: Deadline) -> Found:
        """List search; when the list grows long, again from the incumbent of a narrow search, with fewer moves left."""
        first = search_core(corner, core, gap, max_states=min(self.max_states, LONG_LIST), deadline=deadline)
        if first.finished or self.max_states <= LONG_LIST:
            return first
        narrow = search_core(corner, core, first.gap, max_states=self.max_states, deadline=deadline, width=WIDTH)
        rest = gather_core(corner, core.moves, narrow.gap)
        last = search_core(corner, rest, narrow.gap, max_states=self.max_states, deadline=deadline)
        chosen = last.chosen or narrow.chosen or first.chosen
        return Found(last.gap, chosen, finished=last.finished, states=first.states + narrow.states + last.states)

    def _program(self, corner: Corner, core: Core, found: Found, answer: Answer, unit: int, deadline: Deadline) -> Answer:
        """Let HiGHS finish on what is left of the core."""
        rest = core.moves.pick(corner.cost + core.moves.cost < found.gap)
        if rest.count > self.max_core:
            return answer
        result = solve_core_program(corner, rest, found.gap, unit=unit, max_nodes=self.max_nodes, deadline=deadline)
        choice = answer.choice if result.chosen is None else _apply(corner, result.chosen)
        stats = replace(answer.stats, proof="milp" if result.proven else "", nodes=result.nodes)
        return Answer(Status.OPTIMAL if result.proven else Status.LIMIT, choice, answer.multipliers, stats)


def _feasible_corner(problem: Problem, excess: Excess) -> Corner:
    """The LP choice that keeps the capacity, in exact integers.

    The dual adds sizes in float64. Where totals pass 2^53 its choice may end a rounding error over the capacity; it is then
    asked again for a little less.
    """
    room = float(excess.capacity)
    while True:
        dual = solve_dual(excess, room)
        corner = corner_at(problem, excess, dual.choice, dual.multiplier)
        if corner.slack >= 0:
            return corner
        room -= max(-4.0 * corner.slack, abs(room) * 2.0**-50)


def _first_incumbent(problem: Problem, excess: Excess, corner: Corner) -> tuple[Moves, float, Moves]:
    """The moves that can matter, the gap of a first incumbent, and the moves that make it."""
    limit = first_limit(excess, corner)
    moves = fill_ties(problem, corner, moves_within(problem, excess, corner, limit))
    gap, chosen = best_pair(corner, moves)
    if gap > limit:
        moves = moves_within(problem, excess, corner, gap)
        gap, chosen = best_pair(corner, moves)
    return moves, gap, chosen


def _apply(corner: Corner, moves: Moves) -> Integers:
    choice = corner.choice.copy()
    choice[moves.klass] = moves.item
    return choice


def _core_stats(core: Core, found: Found) -> Stats:
    return Stats(
        proof="search" if found.finished else "",
        core_classes=core.starts.shape[0] - 1,
        core_items=core.moves.count,
        states=found.states,
    )
