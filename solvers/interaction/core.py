"""What a bound leaves open: the changes of the incumbent that could still be part of a better choice."""

import math
from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.interaction.additive import AdditivePart
from solvers.interaction.bound import InteractionBound
from solvers.interaction.quadratic import AbstractQuadratic
from solvers.problem import total_loss, total_sizes
from solvers.relaxation import height_above, relax

ROUNDING = 1e-14  # of the numbers that a gap is the difference of


@dataclass(frozen=True, slots=True, eq=False)
class Core:
    """Moves away from the incumbent that reduced costs do not rule out.

    Attributes:
        choice: int64 ``[N]``, the incumbent.
        loss: its loss.
        gap: how far it lies above the bound, ≥ 0.
        noise: gaps below this are rounding.
        klass: int64 ``[M]``, class of each move, rising.
        item: int64 ``[M]``, what it takes instead.
        size: int64 ``[R, M]``, exact change of size.
        slack: int64 ``[R]``, what the incumbent leaves of the budgets.
    """

    choice: Integers
    loss: float
    gap: float
    noise: float
    klass: Integers
    item: Integers
    size: Integers
    slack: Integers

    @property
    def count(self) -> int:
        """M, the number of moves."""
        return int(self.klass.shape[0])

    @property
    def classes(self) -> int:
        """Classes with a move."""
        return int(np.unique(self.klass).shape[0])

    @property
    def is_open(self) -> bool:
        """A better choice than the incumbent is possible: there are moves, and the gap is no rounding."""
        return self.count > 0 and self.gap > self.noise

    def with_moves(self, chosen: Integers) -> Integers:
        """The incumbent after some of the moves."""
        choice = self.choice.copy()
        choice[self.klass[chosen]] = self.item[chosen]
        return choice

    def keeps_budgets(self, chosen: Integers) -> bool:
        """Whether some of the moves, one a class, keep every budget, in exact integers."""
        klass = self.klass[chosen]
        alone = np.unique(klass).shape[0] == klass.shape[0]
        return alone and bool((self.size[:, chosen].sum(axis=1) <= self.slack).all())


@dataclass(frozen=True, slots=True, eq=False)
class CoreResult:
    """What became of a core.

    Attributes:
        choice: int64 ``[N]``, the best choice known.
        proven: no choice is better, within HiGHS's tolerances.
        nodes: branch-and-bound nodes.
    """

    choice: Integers
    proven: bool
    nodes: int


def gather_core(part: AdditivePart, quadratic: AbstractQuadratic, bound: InteractionBound, choice: Integers) -> Core:
    """Reduced-cost fixing: a choice that takes an item lies at least its reduced cost and its height above the bound."""
    problem, rows = part.problem, np.arange(choice.shape[0])
    relaxation = relax(problem, None, bound.certificate)
    priced = part.priced(relaxation.loss, bound.multipliers)
    reduced = priced - priced.min(axis=1, keepdims=True)
    slack = part.budgets - total_sizes(problem, choice)
    spare = [price * room for price, room in zip(bound.multipliers.tolist(), slack.tolist(), strict=True)]
    gap = max(math.fsum([*reduced[rows, choice].tolist(), *spare, height_above(problem, choice, relaxation)]), 0.0)
    loss = total_loss(problem, choice)
    noise = ROUNDING * (float(np.abs(relaxation.loss[rows, choice]).sum()) + abs(relaxation.constant) + abs(loss))
    kept = reduced + quadratic.heights(bound.certificate) < gap
    kept[rows, choice] = False
    klass, item = np.nonzero(kept)
    size = problem.sizes[:, klass, item] - problem.sizes[:, klass, choice[klass]]
    return Core(choice, loss, gap, noise, klass, item, size, slack)


def changes_of(core: Core, part: AdditivePart, quadratic: AbstractQuadratic) -> Floats:
    """What each move of the core alone does to the loss, float64 ``[M]``."""
    losses = part.problem.loss
    flips = quadratic.flips(core.choice)[core.klass, core.item]
    changes: Floats = losses[core.klass, core.item] - losses[core.klass, core.choice[core.klass]] + flips
    return changes
