"""What a solve hands back: always a value, with its status, its advice and its proof."""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from solvers.problem import Floats, Integers


class Status(StrEnum):
    """How a solve ended."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    INFEASIBLE = "infeasible"
    LIMIT = "limit"
    FAILED = "failed"

    @property
    def advice(self) -> str:
        """What the caller should do with such a solution."""
        return _ADVICE[self]


_ADVICE = {
    Status.OPTIMAL: "Use it: no choice within the budget has a smaller loss.",
    Status.FEASIBLE: "It keeps the budget and its gap is honest; solve with Mckp() for the optimum and its proof.",
    Status.INFEASIBLE: "No choice keeps all budgets and rules; read the reason, then raise the budgets (to smallest_sizes at "
    "least), loosen a rule, or allow smaller items.",
    Status.LIMIT: "It keeps the budget, but a limit or the deadline ended the search: use it if its gap is small enough, "
    "or give more time or a higher limit.",
    Status.FAILED: "There is no usable answer; read the reason and choose another solver.",
}


@dataclass(frozen=True, slots=True)
class Stats:
    """How the work went. Only ``seconds`` differs between two runs of the same problem.

    Attributes:
        solver: the solver with its hyper-parameters.
        seconds: wall seconds of the solve, checks included.
        lagrangian_bound: Σ_i min_k(loss + λ·size) − λ·budget, recomputed by the driver from ``Solution.multipliers``; with side
            rules or an interaction, of their ``relaxation.relax`` at the stored multipliers and certificate.
        lagrangian_gap: (loss − lagrangian_bound)/|loss|; 0 when both are equal.
        proof: what the claim of optimality rests on: ``"bound"`` (the multipliers alone), ``"search"`` (an exhausted search under
            that bound), ``"milp"`` (HiGHS on the core, within its tolerances), ``"cp-sat"`` (CP-SAT on the core, exact in whole
            numbers), or ``""`` when nothing is claimed.
        core_classes: classes that the bound could not fix.
        core_items: items left in them, the LP choice not counted.
        states: partial solutions that the search kept.
        nodes: branch-and-bound nodes of the integer program on the core.
    """

    solver: str = ""
    seconds: float = 0.0
    lagrangian_bound: float = 0.0
    lagrangian_gap: float = 0.0
    proof: str = ""
    core_classes: int = 0
    core_items: int = 0
    states: int = 0
    nodes: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """A checked answer. Everything but the choice and the multipliers is recomputed by the driver.

    Attributes:
        status: how it ended; ``status.advice`` says what to do with it.
        choice: int64 ``[N]``, the item of each class; empty when there is no usable answer (INFEASIBLE, FAILED).
        loss: Σ_i loss[i, choice_i]; ``inf`` without a choice.
        sizes: int64 ``[R]``, the exact totals; zeros without a choice.
        lower_bound: no choice within the budgets has a smaller loss. The loss itself when OPTIMAL, else the Lagrangian bound.
        gap: (loss − lower_bound)/|loss|, relative; 0 when both are equal, ``inf`` without a choice.
        multipliers: float64 ``[R]``, loss per unit of size at the LP optimum: the price of a unit of each budget.
        smallest_sizes: int64 ``[R]``, the smallest feasible budget (with several rows: of each row alone).
        stats: how the work went.
        reason: one sentence of facts when there is no choice, else empty.
        rule_multipliers: float64, the price of each linear row of the side rules; empty without rules.
        certificate: float64, what the bound of the interaction is recomputed from; ``None`` without an interaction.
    """

    status: Status
    choice: Integers
    loss: float
    sizes: Integers
    lower_bound: float
    gap: float
    multipliers: Floats
    smallest_sizes: Integers
    stats: Stats = field(default_factory=Stats)
    reason: str = ""
    rule_multipliers: Floats = field(default_factory=lambda: np.zeros(0))
    certificate: Floats | None = None
