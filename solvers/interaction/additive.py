"""The additive problems inside: losses that change, sizes and budgets that stay."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.interaction.feasible import find_feasible
from solvers.mckp import Mckp
from solvers.mckp.dual import solve_dual
from solvers.mckp.excess import Excess, measure_excess
from solvers.problem import Problem
from solvers.solver import Answer, Deadline

TIE = 1e-13  # of the largest value in a class: what is closer ties at the multiplier
PLANNER = Mckp(max_states=100_000, max_nodes=0)


@dataclass(frozen=True, slots=True, eq=False)
class LinearBound:
    """The linear relaxation at some losses.

    Attributes:
        multipliers: float64 ``[R]``, ≥ 0.
        value: ``Σ_i min_k(loss + λ·size) − λ·budget``, below every choice at these losses.
        point: float64 ``[N, K]``, mixed choices that keep the budgets and reach the value, up to rounding.
    """

    multipliers: Floats
    value: float
    point: Floats


@dataclass(frozen=True, slots=True, eq=False)
class AdditivePart:
    """The sizes and budgets of a problem, for many tables of losses.

    Attributes:
        problem: the problem, whose interaction is not looked at.
        excess: its one budget seen from the cheapest corner; ``None`` with more budgets.
        budgets: int64 ``[R]``; one alone is lowered to what whole steps of the sizes can reach.
    """

    problem: Problem
    excess: Excess | None = field(init=False)
    budgets: Integers = field(init=False)

    def __post_init__(self) -> None:
        excess = measure_excess(self.problem) if self.problem.budgets.shape[0] == 1 else None
        budgets = self.problem.budgets if excess is None else np.array([int(excess.smallest.sum()) + excess.capacity])
        object.__setattr__(self, "excess", excess)
        object.__setattr__(self, "budgets", budgets)

    def bound(self, loss: Floats) -> LinearBound:
        """Maximise the Lagrangian bound over the multipliers at these losses, float64 ``[N, K]``, ``inf`` where forbidden."""
        return self._bound_one(loss, self.excess) if self.excess is not None else self._bound_many(loss)

    def plan(self, loss: Floats, deadline: Deadline) -> Answer:
        """A choice that keeps the budgets, of least or nearly least loss; without one where the budgets exclude each other."""
        problem = Problem(loss, self.problem.sizes, self.problem.budgets)
        return PLANNER.run(problem, deadline) if PLANNER.refusal(problem) is None else find_feasible(problem, deadline)

    def _bound_one(self, loss: Floats, excess: Excess) -> LinearBound:
        allowed = self.problem.allowed()
        largest = float(np.abs(loss, where=allowed, out=np.zeros(loss.shape)).max(initial=0.0))
        exponent = int(np.frexp(largest)[1])
        lifted = np.ldexp(loss.T, -exponent)
        lifted = lifted - lifted.min(axis=0)
        dual = solve_dual(replace(excess, loss=lifted, exponent=exponent))
        priced = lifted + dual.multiplier * excess.size
        multipliers = np.ldexp(np.array([dual.multiplier]), exponent)
        point = self._mixed(dual.choice, excess, priced, free=dual.multiplier == 0)
        return LinearBound(multipliers, self.value(loss, multipliers), point)

    def _mixed(self, choice: Integers, excess: Excess, priced: Floats, *, free: bool) -> Floats:
        """The choice of the dual, mixed with the largest of its ties so that the budget is used up."""
        rows = np.arange(choice.shape[0])
        point = np.zeros((choice.shape[0], priced.shape[0]))
        point[rows, choice] = 1.0
        if free:
            return point
        tied: NDArray[np.bool_] = priced <= priced.min(axis=0) + TIE * np.where(np.isfinite(priced), priced, 0.0).max(axis=0)
        larger = np.where(tied, excess.size, -1.0).argmax(axis=0)
        room = excess.capacity - float(excess.size[choice, rows].sum())
        grown = float((excess.size[larger, rows] - excess.size[choice, rows]).sum())
        share = min(max(room / grown, 0.0), 1.0) if grown > 0 else 0.0
        point *= 1.0 - share
        point[rows, larger] += share
        return point

    def _bound_many(self, loss: Floats) -> LinearBound:
        from scipy.optimize import linprog
        from scipy.sparse import csr_array

        i, k = np.nonzero(self.problem.allowed())
        cells, cost = np.arange(i.shape[0]), loss[i, k]
        scale = float(np.abs(cost).max(initial=0.0)) or 1.0
        sizes = self.problem.sizes[:, i, k].astype(np.float64)
        units = np.maximum(sizes.max(axis=1), 1.0) / 1e4
        one_each = csr_array((np.ones(i.shape[0]), (i, cells)), shape=(self.problem.classes, i.shape[0]))
        result = linprog(
            cost / scale * 1e4,
            A_ub=sizes / units[:, None],
            b_ub=self.problem.budgets / units,
            A_eq=one_each,
            b_eq=np.ones(self.problem.classes),
        )
        multipliers, point = np.zeros(units.shape[0]), np.zeros(loss.shape)
        if result.x is not None:
            multipliers = np.maximum(-result.ineqlin.marginals, 0.0) * (scale / 1e4) / units
            point[i, k] = result.x
        return LinearBound(multipliers, self.value(loss, multipliers), point)

    def multiplier_above_zero(self, loss: Floats) -> float:
        """The multiplier of one budget at these losses, or one of the order of losses ÷ sizes where the budget binds nothing."""
        found = float(self.bound(loss).multipliers[0])
        capacity = 1 if self.excess is None else max(self.excess.capacity, 1)
        largest = float(np.abs(loss, where=np.isfinite(loss), out=np.zeros(loss.shape)).max(initial=0.0))
        return found or largest / capacity or 1.0

    def value(self, loss: Floats, multipliers: Floats) -> float:
        """The Lagrangian bound at any losses and multipliers."""
        priced = self.priced(loss, multipliers)
        return float(priced.min(axis=1).sum() - multipliers @ self.budgets)

    def priced(self, loss: Floats, multipliers: Floats) -> Floats:
        """``loss + λ·size``, float64 ``[N, K]``."""
        return loss + np.tensordot(multipliers, self.problem.sizes, axes=1)
