"""Two budgets: from the LP optimum to a proved choice, or to the proof that there is none."""

import math
from dataclasses import dataclass, replace

import numpy as np

from solvers.arrays import Integers
from solvers.mckp.core_program import Row, solve_core_program
from solvers.mckp.excess import measure_excess
from solvers.mckp.limits import Limits
from solvers.mckp.one_budget import find_corner, finish_corner
from solvers.mckp.two_core import TwoCore, gather_two_core
from solvers.mckp.two_dual import solve_two_dual
from solvers.mckp.two_moves import Rows, TwoCorner, limit_of_rank, two_corner_at, two_gap_of, two_moves_within
from solvers.mckp.two_search import TwoFound, search_two_core
from solvers.problem import Problem, total_loss, total_sizes
from solvers.solution import Stats, Status
from solvers.solver import Answer, Deadline

STATE = 4  # a state under two budgets takes so many times the room and the time of one under one
LOOSE = 100  # HiGHS has closed no gap below so many times ``program_gap``
POOL = 4_096  # cheapest moves among which a first incumbent is looked for
FIRST = 64  # of these the first narrow search sees so many, the next ones GROWTH times as many each
GROWTH = 3
NARROW = 256  # states a class of the searches for a first incumbent
WIDE = 4_096
ROUNDS = ((1.0, WIDE), (0.5, None), (0.7, None), (1.0, None))  # ceiling as a share of the gap of the incumbent, and width
EXACT = 1e-12  # of the sizes above the smallest: what float64 may be off


def solve_two_budgets(problem: Problem, limits: Limits, deadline: Deadline) -> Answer:
    """The optimum, the incumbent when a limit or the deadline ended the search, or INFEASIBLE.

    Where one budget binds nothing its problem is solved without it.

    Args:
        problem: with two budgets, either of which can be kept alone.
        limits: of the search and the program.
        deadline: wall-clock limit.
    """
    rows = (measure_excess(problem, 0), measure_excess(problem, 1))
    alone = _solve_without_one(problem, rows, limits, deadline)
    if alone is not None:
        return alone
    dual = solve_two_dual(*rows)
    least = None if dual.reachable else _least_second(problem, rows, limits, deadline)
    if least is not None and least.proves_infeasible:
        return least.refusal(problem)
    limits = replace(limits, max_states=limits.max_states // STATE)
    return _finish_corner(problem, rows, two_corner_at(rows, dual.choice, dual.multipliers), limits, deadline)


def _solve_without_one(problem: Problem, rows: Rows, limits: Limits, deadline: Deadline) -> Answer | None:
    """The answer under one budget, when it keeps the other."""
    for row, excess in enumerate(rows):
        corner = find_corner(excess)
        if (total_sizes(problem, corner.choice) > problem.budgets).any():
            continue
        answer = finish_corner(problem, excess, corner, limits, deadline)
        if answer.choice is None or answer.multipliers is None or (total_sizes(problem, answer.choice) > problem.budgets).any():
            continue
        multipliers = np.zeros(2)
        multipliers[row] = answer.multipliers[0]
        return replace(answer, multipliers=multipliers)
    return None


@dataclass(frozen=True, slots=True, eq=False)
class _Least:
    """The least total of the second row while the first keeps its budget.

    Attributes:
        choice: int64 ``[N]``, reaches ``total``.
        total: exact; the least unless a limit ended the search.
        bound: no choice has less, but for the tolerance.
        tolerance: what float64 may be off in ``bound``.
        budget: of the second row.
    """

    choice: Integers
    total: int
    bound: int
    tolerance: float
    budget: int

    @property
    def proves_infeasible(self) -> bool:
        return self.bound - self.budget > self.tolerance

    def doubt(self) -> str:
        """Why there may be no choice, in one sentence."""
        return (
            f"no choice within both budgets was found: with row 0 kept, row 1 came down to {self.total}, and its budget is "
            f"{self.budget}; raise one of them, or give more time"
        )

    def refusal(self, problem: Problem) -> Answer:
        """There is no choice: this bound says so, or an exhausted search does."""
        needs = max(self.bound, self.budget + 1)
        reason = (
            f"the budgets cannot be kept together: within {problem.budgets[0]} of row 0, row 1 needs {needs} "
            f"at least and its budget is {self.budget}; raise one of them"
        )
        return Answer(Status.INFEASIBLE, None, reason=reason)


def _least_second(problem: Problem, rows: Rows, limits: Limits, deadline: Deadline) -> _Least:
    """Solve for the second size as the loss, under the first budget alone."""
    first, second = rows
    above = np.where(np.isinf(second.loss), np.inf, second.size).T
    sizes = Problem(above, problem.sizes[:1], problem.budgets[:1])
    excess = measure_excess(sizes)
    answer = finish_corner(sizes, excess, find_corner(excess), limits, deadline)
    assert answer.choice is not None  # noqa: S101  (one budget that can be kept has a choice)
    assert answer.multipliers is not None  # noqa: S101  (and a multiplier)
    total = int(total_sizes(problem, answer.choice)[1])
    bound = total
    if answer.status is not Status.OPTIMAL:
        price = float(answer.multipliers[0])
        priced = above + price * first.size.T
        bound = math.ceil(float(priced.min(axis=1).sum() - price * first.capacity)) + int(second.smallest.sum())
    reach = float(np.where(np.isinf(above), 0.0, above).max(axis=1).sum())
    return _Least(answer.choice, total, bound, EXACT * reach, int(problem.budgets[1]))


def _finish_corner(problem: Problem, rows: Rows, corner: TwoCorner, limits: Limits, deadline: Deadline) -> Answer:
    """First an incumbent, then the exhausted search, then HiGHS on what that leaves."""
    first = _first_incumbent(rows, corner)
    if first.chosen is not None:
        incumbent = corner.apply(first.chosen)
    else:
        least = _least_second(problem, rows, limits, deadline)
        if least.total > least.budget:
            if first.finished or least.proves_infeasible:
                return least.refusal(problem)
            return Answer(Status.FAILED, None, reason=least.doubt())
        incumbent = least.choice
        first = replace(first, gap=two_gap_of(rows, corner, incumbent), finished=False)
    multipliers = np.ldexp(np.array(corner.multipliers), rows[0].exponent)
    core, found = _search(rows, corner, first, limits, deadline)
    if found.chosen is not None:
        incumbent = corner.apply(found.chosen)
    stats = Stats(
        proof="search" if found.finished else "",
        core_classes=core.starts.shape[0] - 1,
        core_items=core.moves.count,
        states=found.states,
    )
    answer = Answer(Status.OPTIMAL if found.finished else Status.LIMIT, incumbent, multipliers, stats)
    allowance = LOOSE * limits.program_gap * abs(total_loss(problem, incumbent))
    if found.finished or limits.max_nodes == 0 or math.ldexp(found.gap, rows[0].exponent) <= allowance or deadline.passed():
        return answer
    return _program(corner, core, found, answer, rows=rows, limits=limits, deadline=deadline)


def _first_incumbent(rows: Rows, corner: TwoCorner) -> TwoFound:
    """Narrow searches over more and more of the cheapest moves, until one ends with a choice.

    Returns:
        The choice, ``finished`` when it is optimal; or none, ``finished`` when there is none.
    """
    limit = limit_of_rank(rows, corner, POOL)
    pool, complete = two_moves_within(rows, corner, limit), math.isinf(limit)
    if complete:  # a number above the gap of every choice
        limit = 2 * (float(pool.cost.sum()) + corner.charge(rows[0].capacity, rows[1].capacity)) or 1.0
    costs, rank, states = np.sort(pool.cost), FIRST, 0
    while True:
        last = rank >= pool.count
        ceiling = limit if last else float(costs[rank])
        found = search_two_core(corner, gather_two_core(corner, pool, ceiling), ceiling, deadline=Deadline(), width=NARROW)
        states += found.states
        if found.chosen is not None or last:
            return replace(found, states=states, finished=found.finished and (complete or found.chosen is not None))
        rank *= GROWTH


def _search(rows: Rows, corner: TwoCorner, first: TwoFound, limits: Limits, deadline: Deadline) -> tuple[TwoCore, TwoFound]:
    """A wide search, which is whole unless it has to drop states; then whole ones below rising ceilings.

    Work grows steeply with the ceiling: a search below one that nothing stays under costs a fraction of one below the
    incumbent, and what it finds is optimal.
    """
    core, best, states = gather_two_core(corner, two_moves_within(rows, corner, first.gap), first.gap), first, first.states
    for share, width in () if first.finished else ROUNDS:
        ceiling = share * best.gap
        part, left = gather_two_core(corner, core.moves, ceiling), limits.max_states - states
        found = search_two_core(corner, part, ceiling, max_states=left, deadline=deadline, width=width)
        states += found.states
        best = found if found.chosen is not None else replace(best, finished=found.finished and share == 1.0)
        if best.finished or states > limits.max_states or deadline.passed():
            break
    return core, replace(best, states=states)


def _program(
    corner: TwoCorner, core: TwoCore, found: TwoFound, answer: Answer, *, rows: Rows, limits: Limits, deadline: Deadline
) -> Answer:
    """Let HiGHS finish on what is left of the core."""
    rest = core.moves.pick(core.moves.cost < found.gap)
    if rest.count > limits.max_core:
        return answer
    value = rest.cost - np.array(corner.multipliers) @ rest.sizes
    budgets = [Row(size, slack, row.unit) for size, slack, row in zip(rest.sizes, corner.slacks, rows, strict=True)]
    result = solve_core_program(
        rest.klass, value, budgets, base=corner.gap, gap=found.gap, max_nodes=limits.max_nodes, deadline=deadline
    )
    choice = answer.choice if result.chosen is None else corner.apply(rest.pick(result.chosen))
    stats = replace(answer.stats, proof="milp" if result.proven else "", nodes=result.nodes)
    return Answer(Status.OPTIMAL if result.proven else Status.LIMIT, choice, answer.multipliers, stats)
