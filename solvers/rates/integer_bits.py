"""Whole bits from a menu: the integer counterpart of water-filling, under the exact budget."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import Floats, Integers
from solvers.driver import solve
from solvers.errors import ProblemError
from solvers.mckp.dual import solve_dual
from solvers.mckp.excess import measure_excess
from solvers.problem import Problem
from solvers.rates.components import Components
from solvers.repair import improve, keep_budgets
from solvers.solution import Solution, Status
from solvers.solver import AbstractSolver, Answer, Deadline


@dataclass(frozen=True, slots=True)
class MarginalReturns(AbstractSolver):
    """Bit by bit to whoever gains most per unit of size, then swaps of two.

    All steps whose return is above the multiplier of the LP optimum are taken at once; the rest of the budget is filled by
    returns. On convex curves with equal steps this greedy is exactly optimal (Fox 1966); with unequal sizes it ends near the
    LP optimum, and the best swaps follow. Of equal returns the larger step comes first, and of these the class with the lower
    index. The gap is that to the LP bound.
    """

    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        """The choice and the LP multiplier."""
        excess = measure_excess(problem)
        dual = solve_dual(excess)
        price = np.ldexp(np.array([dual.multiplier]), excess.exponent)
        choice = keep_budgets(problem, dual.choice, price)
        if choice is None:
            return Answer(Status.FAILED, None, reason="the steps could not be brought within the budget; use Mckp()")
        return Answer(Status.FEASIBLE, choice if deadline.passed() else improve(problem, choice, price), price)


@dataclass(frozen=True, slots=True, eq=False)
class IntegerBits:
    """Bits of a menu, and the certified solution behind them.

    Attributes:
        bits: float64 ``[N]``, entries of the menu; empty when the solution has no choice.
        problem: the knapsack that was solved; its losses are ``c·β^(−bits)`` and its sizes exact.
        solution: with status, exact size, gap to the LP bound and multiplier.
    """

    bits: Floats
    problem: Problem
    solution: Solution


def integer_bits(components: Components, menu: ArrayLike, budget: int, solver: AbstractSolver | None = None) -> IntegerBits:
    """The bits of a menu that lose least by marginal returns, never over the budget.

    Args:
        components: who shares the bits; only menu entries within ``low`` and ``high`` are allowed.
        menu: bits to choose from, ``[K]``.
        budget: whole units of weights times bits.
        solver: instead of ``MarginalReturns()``, such as ``Mckp()`` for the proved optimum.

    Raises:
        ProblemError: a menu that offers a component nothing, or totals past int64.
    """
    menu = np.asarray(menu, dtype=np.float64)
    problem = bits_problem(components, menu, budget)
    solution = solve(problem, solver or MarginalReturns())
    return IntegerBits(menu[solution.choice], problem, solution)


def bits_problem(components: Components, menu: Floats, budget: int) -> Problem:
    """The knapsack of components and a menu: losses ``c·β^(−bits)``, sizes ``ceil(n·(bits + o))``, one budget.

    The sizes are exact where ``n·(bits + o)`` is a whole number below 2^53, and never less than what is stored.

    Raises:
        ProblemError: a menu that offers a component nothing, or sizes past int64.
    """
    allowed = (menu >= components.low[:, None]) & (menu <= components.high[:, None])
    if not allowed.any(axis=1).all():
        i = int((~allowed.any(axis=1)).argmax())
        msg = f"component {i} allows {components.low[i]} to {components.high[i]} bits, and no entry of the menu lies there"
        raise ProblemError(msg)
    loss = np.where(allowed, components.scale[:, None] * components.beta[:, None] ** -menu, np.inf)
    sizes = np.ceil(components.weights[:, None] * (menu + components.side_bits[:, None]))
    sizes = np.where(allowed, sizes, 0.0)
    if sizes.size and not (sizes.min() >= 0 and sizes.max() < 2.0**63):
        msg = "sizes of components leave the range of int64; count weights in a larger unit, and bits from zero up"
        raise ProblemError(msg)
    return Problem(loss, sizes.astype(np.int64)[None], np.array([budget]))


def index_bits(menu_length: int) -> int:
    """Bits that say which of ``menu_length`` entries a component has: ceil(log2). BAQ stores them and does not count them.

    Per weight they are ``index_bits(K)/n``, to be part of ``side_bits``.

    Raises:
        ProblemError: a menu without an entry.
    """
    if menu_length < 1:
        msg = f"a menu of {menu_length} entries offers nothing; give one at least"
        raise ProblemError(msg)
    return (menu_length - 1).bit_length()


def round_bits(bits: Floats, menu: ArrayLike, *, down: bool = False) -> Integers:
    """Positions in a rising menu of the nearest entries, ties to the lower one, or of the largest entries not above the bits.

    A baseline for reports: nearest entries may be over the budget, and rounding down loses half as much again as the optimum.
    Bits below the menu get its first entry.
    """
    menu = np.asarray(menu, dtype=np.float64)
    above = np.clip(np.searchsorted(menu, bits, side="right"), 1, menu.shape[0])
    if down or menu.shape[0] == 1:
        return (above - 1).astype(np.int64)
    above = np.minimum(above, menu.shape[0] - 1)
    nearer_below = (bits - menu[above - 1] <= menu[above] - bits).astype(np.int64)
    nearest: Integers = above - nearer_below
    return nearest
