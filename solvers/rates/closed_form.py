"""BAQ's closed form on a table of losses: fitted curves, water-filling, and integers on the table itself."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.dominance import undominated
from solvers.errors import SettingError
from solvers.mckp.dual import solve_dual
from solvers.mckp.excess import measure_excess
from solvers.problem import LARGEST_SIZE, Problem, total_sizes
from solvers.rates.components import Components
from solvers.rates.curves import fit_curves
from solvers.rates.water_filling import water_fill
from solvers.repair import improve, keep_budgets
from solvers.solution import Status
from solvers.solver import AbstractSolver, Answer, Deadline

FLATTEST = 1e-9
STEEPEST = 690.0  # largest ln β over the whole range of a class: β stays within float64


@dataclass(frozen=True, slots=True, eq=False)
class ClosedForm(AbstractSolver):
    """Water-filling on fitted curves, rounded to the table under the exact budget.

    Each class gets a curve ``α·β^(−bits)`` through its undominated items, all classes share the budget by water-filling
    between their smallest and largest of these, and the bits are rounded to the nearest item, brought within the budget,
    filled, and improved by a few swaps on the measured losses. Prefer ``Mckp()`` for a table: it is faster and exact. This one
    shows what BAQ's formula makes of the same numbers; its gap is what the curves miss of the table, noise of the cells included.

    With a curve of its own the answer of a class does not depend on what is called a bit: the decay per unit of size is what
    is fitted. Only classes with fewer than two positive items use the β of the others (``pooled``), and then bits are sizes
    divided by ``weights``. Where an item loses nothing or less, the curve is that of the losses above the least of its class.

    Attributes:
        weights: how many weights each class has, whole numbers ``[N]``; ``None`` counts in the smallest size of the class.
        default_beta: β of classes without a curve of their own, when no class has one.
    """

    weights: Integers | None = field(default=None, repr=False)
    default_beta: float = 4.0
    swaps: int = 16

    def __post_init__(self) -> None:
        if not 1 < self.default_beta < np.inf:
            msg = f"default_beta is {self.default_beta}; give a finite number above 1, such as 4"
            raise SettingError(msg)
        if self.swaps < 0:
            msg = f"swaps is {self.swaps}; give zero or more"
            raise SettingError(msg)
        if self.weights is not None and not (np.asarray(self.weights) > 0).all():
            msg = "weights must be positive: how many weights each class has"
            raise SettingError(msg)

    def refusal(self, problem: Problem) -> str | None:
        """Refuses more than one budget, and weights of another number of classes."""
        if problem.budgets.shape[0] > 1:
            return f"ClosedForm keeps one budget, not {problem.budgets.shape[0]}; use Convex()"
        if self.weights is not None and np.shape(self.weights) != (problem.classes,):
            return f"weights have shape {np.shape(self.weights)}; give one number for each of the {problem.classes} classes"
        return None

    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        """The rounded water-filling, with the multiplier of the LP optimum."""
        excess = measure_excess(problem)
        dual = solve_dual(excess)
        multipliers = np.ldexp(np.array([dual.multiplier]), excess.exponent)
        if dual.multiplier == 0 and (total_sizes(problem, dual.choice) <= problem.budgets).all():
            return Answer(Status.FEASIBLE, dual.choice, multipliers)
        ladder = _gather_ladder(problem)
        targets = self._targets(ladder, int(problem.budgets[0]))
        choice = keep_budgets(problem, _nearest(ladder, targets), multipliers)
        if choice is None:
            return Answer(Status.FAILED, None, reason="the rounded bits could not be brought within the budget; use Mckp()")
        if not deadline.passed():
            choice = improve(problem, choice, multipliers, swaps=self.swaps)
        return Answer(Status.FEASIBLE, choice, multipliers)

    def _targets(self, ladder: "_Ladder", budget: int) -> Floats:
        """The real size that water-filling gives each class."""
        components, smallest, width = _fit(ladder, self.weights, self.default_beta)
        filled = water_fill(components, max(float(budget - int(ladder.size[:, 0].sum())), 0.0))
        targets: Floats = smallest + filled.bits * width
        return targets


@dataclass(frozen=True, slots=True, eq=False)
class _Ladder:
    """The undominated items of each class from the smallest up, ``[N, K]``; places past the last repeat it.

    Attributes:
        item: int64, the item at each place.
        size: int64, rising.
        loss: float64, falling.
        real: bool, False at repeated places.
    """

    item: Integers
    size: Integers
    loss: Floats
    real: NDArray[np.bool_]


def _gather_ladder(problem: Problem) -> _Ladder:
    kept = undominated(problem)
    counts = kept.sum(axis=1, keepdims=True)
    order = np.argsort(np.where(kept, problem.sizes[0], LARGEST_SIZE), axis=1, kind="stable")
    places = np.arange(problem.items)
    item = np.take_along_axis(order, np.minimum(places, counts - 1), axis=1)
    size, loss = np.take_along_axis(problem.sizes[0], item, axis=1), np.take_along_axis(problem.loss, item, axis=1)
    return _Ladder(item, size, loss, places < counts)


def _fit(ladder: _Ladder, weights: Integers | None, default_beta: float) -> tuple[Components, Floats, Floats]:
    """The rate problem in shares of each class's range of sizes, and the smallest size and that range, float64 ``[N]``."""
    smallest: Floats = ladder.size[:, 0].astype(np.float64)
    width: Floats = np.maximum((ladder.size[:, -1] - ladder.size[:, 0]).astype(np.float64), 1.0)
    share = (ladder.size - ladder.size[:, :1]) / width[:, None]
    positive = ladder.loss.min(axis=1, keepdims=True) > 0
    loss = np.where(positive, ladder.loss, ladder.loss - ladder.loss[:, -1:])
    loss = np.where(ladder.real, loss, np.nan)
    per_bit = np.asarray(weights, dtype=np.float64) if weights is not None else np.where(smallest > 0, smallest, width)
    own = fit_curves(share, loss)
    pooled = fit_curves(share * (width / per_bit)[:, None], loss, pooled=True)
    beta = float(pooled.beta[pooled.usable][0]) if pooled.usable.any() else default_beta
    decay = np.clip(np.where(own.usable, np.log(own.beta), np.log(beta) * width / per_bit), FLATTEST, STEEPEST)
    scale = np.where(own.usable, own.scale, np.where(own.used > 0, loss[:, 0], 0.0))
    varies = ladder.size[:, -1] > ladder.size[:, 0]
    return Components.of(scale, weights=width, beta=np.exp(decay), high=np.where(varies, 1.0, 0.0)), smallest, width


def _nearest(ladder: _Ladder, targets: Floats) -> Integers:
    """The item of the corner nearest to each target."""
    distance = np.where(ladder.real, np.abs(ladder.size - targets[:, None]), np.inf)
    nearest: Integers = ladder.item[np.arange(targets.shape[0]), distance.argmin(axis=1)]
    return nearest
