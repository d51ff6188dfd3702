"""The solver for several budgets and side rules."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from solvers.arrays import Floats
from solvers.errors import SettingError
from solvers.ilp.bound import Bound, lagrangian_bound
from solvers.ilp.cp_sat import solve_by_cp_sat
from solvers.ilp.highs import solve_by_highs
from solvers.ilp.model import Model, NoChoiceError, build_model
from solvers.ilp.program import Effort
from solvers.ilp.search import Search
from solvers.problem import Problem
from solvers.solution import Stats, Status
from solvers.solver import AbstractSolver, Answer, Deadline

BACKENDS = {"cp-sat": solve_by_cp_sat, "highs": solve_by_highs}
PROOFS = {"cp-sat": "cp-sat", "highs": "milp"}


@dataclass(frozen=True, slots=True)
class Ilp(AbstractSolver):
    """Any number of budgets and any side rules: a Lagrangian bound over all rows, and an integer program for what it leaves.

    Presolve in exact integers, multipliers by the LP (cutting planes when it is large), a first choice by repair, reduced-cost
    fixing, then CP-SAT or HiGHS on the reduced core. Prefer ``Mckp`` for one budget without rules: it is faster. OPTIMAL says
    that CP-SAT or HiGHS closed its search on the core; a limit leaves the best choice and the gap to the Lagrangian bound.

    Attributes:
        backend: ``"cp-sat"``, exact in whole numbers, or ``"highs"``, which is within its tolerances.
        max_time: of CP-SAT for the core, in its deterministic units (about a second each): the same end on every machine.
        max_nodes: branch-and-bound nodes of HiGHS for the core; a node of a core of 500 cells takes some 2 ms.
        workers: threads of CP-SAT; with more than one a run need not repeat itself.
        seed: of CP-SAT.
        kernel: cells, beside one a class, of the first program, which looks for a good choice.
        max_cells: a core with more cells than this beside one a class is not given to the backend.
        tolerance: relative error of the loss up to which CP-SAT's closed search counts as proof; its whole costs leave 1e-13
            as a rule.
    """

    takes_rules: ClassVar[bool] = True

    backend: Literal["cp-sat", "highs"] = "cp-sat"
    max_time: float = 30.0
    max_nodes: int = 20_000
    workers: int = 1
    seed: int = 0
    kernel: int = 300
    max_cells: int = 100_000
    tolerance: float = 1e-9

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            msg = f"there is no backend {self.backend!r}; take one of {', '.join(BACKENDS)}"
            raise SettingError(msg)
        for name, least in (("max_time", 0), ("max_nodes", 1), ("workers", 1), ("seed", 0), ("kernel", 1), ("max_cells", 0)):
            if not least <= getattr(self, name) < 2**31:
                msg = f"{name} is {getattr(self, name)}; give {least} or more"
                raise SettingError(msg)
        if not 0 <= self.tolerance < 1:
            msg = f"tolerance is {self.tolerance}; give a relative error from 0 to 1"
            raise SettingError(msg)

    def refusal(self, problem: Problem) -> str | None:
        """Refuses nothing but what the driver refuses for it: an interaction."""
        del problem
        return None

    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        """The optimum, or the best choice found when a limit or the deadline ended the search."""
        try:
            model = build_model(problem)
        except NoChoiceError as error:
            return Answer(Status.INFEASIBLE, None, reason=str(error))
        bound = lagrangian_bound(model)
        effort = Effort(self.max_time, self.max_nodes, math.inf, self.workers, self.seed)
        search = Search(problem, model, bound, BACKENDS[self.backend], effort, deadline, self.tolerance)
        proven = search.run(self.kernel, self.max_cells)
        if search.incumbent is None:
            return self._nothing(proven)
        proven = proven and model.lossless
        prices = _multipliers(model, bound)
        budgets = problem.budgets.shape[0]
        classes, items = search.core_size()
        proof = (PROOFS[self.backend] if search.nodes else "search") if proven else ""  # no program: nothing was left to search
        stats = Stats(proof=proof, core_classes=classes, core_items=items, nodes=search.nodes)
        status = Status.OPTIMAL if proven else Status.LIMIT
        return Answer(status, search.incumbent, prices[:budgets], stats, rule_multipliers=prices[budgets:])

    def _nothing(self, proven: bool) -> Answer:
        if proven:
            reason = "no choice keeps all budgets and rules together; raise or loosen one of them"
            return Answer(Status.INFEASIBLE, None, reason=reason)
        reason = "no choice was found within the limits, and none was proven not to exist; give more time or a higher limit"
        return Answer(Status.FAILED, None, reason=reason)


def _multipliers(model: Model, bound: Bound) -> Floats:
    """Loss per unit of each budget and each linear row of the rules, as the problem counts them."""
    prices = np.zeros(model.sources)
    for price, row in zip(bound.prices.tolist(), model.rows, strict=True):
        prices[row.source] = math.ldexp(price / row.unit, model.exponent)
    return prices
