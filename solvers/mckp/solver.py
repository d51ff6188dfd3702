"""The default solver: one budget or two, any number of classes, exact."""

from dataclasses import dataclass

from solvers.errors import SettingError
from solvers.mckp.descent import find_dual
from solvers.mckp.excess import measure_excess
from solvers.mckp.limits import Limits
from solvers.mckp.one_budget import find_corner, finish_corner
from solvers.mckp.two_budgets import solve_two_budgets
from solvers.problem import Problem
from solvers.solver import AbstractSolver, Answer, Deadline


@dataclass(frozen=True, slots=True)
class Mckp(AbstractSolver):
    """Exact multiple-choice knapsack with one budget or two: the solver to take unless another is needed.

    LP bound by the Lagrangian dual, ties filled, best pair of moves, reduced-cost fixing, then an exhausted list search of
    the core; when its list grows long, a better incumbent from two lists joined; when it outgrows the limit, HiGHS on the
    core. Prefer it over ``HullGreedy`` always; it proves what it says. Two budgets have a multiplier each and the same steps;
    that they cannot be kept together is proved too. It refuses more than two. Time is about five passes over the numbers
    (forty with two budgets) plus the search, which is short unless losses follow sizes exactly.

    Attributes:
        max_states: partial choices that the search of the core may keep before HiGHS takes over (some 8 bytes each); a
            quarter as many under two budgets, where they are four times as large.
        max_nodes: branch-and-bound nodes that HiGHS may open on the core; 0 leaves HiGHS out. Unlike a time limit it ends at
            the same place on every machine; a node of a core of 600 moves takes some 6 ms.
        max_core: moves above which the core is not given to HiGHS.
        program_gap: HiGHS is not asked about a relative gap below this, a hundred times it under two budgets; the status is
            then LIMIT, with the gap.
    """

    max_states: int = 2_000_000
    max_nodes: int = 300
    max_core: int = 1_000
    program_gap: float = 1e-9

    def __post_init__(self) -> None:
        for name in ("max_states", "max_nodes", "max_core", "program_gap"):
            if not getattr(self, name) >= 0:
                msg = f"{name} is {getattr(self, name)}; give zero or more"
                raise SettingError(msg)

    def refusal(self, problem: Problem) -> str | None:
        """Refuses more than two budgets."""
        if problem.budgets.shape[0] > 2:
            return f"Mckp keeps one budget or two and the problem has {problem.budgets.shape[0]}; use Ilp() for several budgets"
        return None

    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        """The optimum, or the incumbent when a limit or the deadline ended the search."""
        limits = Limits(self.max_states, self.max_nodes, self.max_core, self.program_gap)
        if problem.budgets.shape[0] == 2:
            return solve_two_budgets(problem, limits, deadline)
        excess = measure_excess(problem)
        return finish_corner(problem, excess, find_corner(excess, find_dual(problem, excess)), limits, deadline)
