"""All single changes of a choice, ready to be drawn from: by chance, or by what the loss table predicts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.evolutionary.ladders import Ladders
from solvers.problem import Problem, chosen_losses

LEAST_EFFECT = 1e-3  # of the median change of loss: what is predicted to cost nothing may still cost something
LARGEST_EFFECT = 1e12
SHARPNESS = 4  # half of the guided draws are in proportion to the rate, half to this power of it


@dataclass(frozen=True, slots=True, eq=False)
class Moves:
    """Changes of one class each, with cumulated weights. M moves, sorted by their change of the first size.

    Attributes:
        klass: int64 ``[M]``, the class that changes.
        item: int64 ``[M]``, the item that it takes.
        change: int64 ``[R, M]``, exact change of the sizes.
        blind: float64 ``[M]``, cumulated weights ``jump^(levels − 1)``: the same for all classes.
        guided: float64 ``[M]``, cumulated weights ``jump^(levels − 1)·(rate/Σ + rate⁴/Σ)``, each part adding up to 1; the rate is
            the predicted loss saved per unit of size (of moves up), or the size given back per predicted loss (of moves down).
    """

    klass: Integers
    item: Integers
    change: Integers
    blind: Floats
    guided: Floats

    def draw(self, random: np.random.Generator, guidance: float, *, end: int | None = None) -> int:
        """One of the first ``end`` moves, with probability ``guidance`` by the guided weights; −1 where there is none."""
        end = self.klass.shape[0] if end is None else end
        if end == 0:
            return -1
        weights = self.guided if random.random() < guidance else self.blind
        at = random.random() * float(weights[end - 1])
        return min(int(weights.searchsorted(at, side="right")), end - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Options:
    """The moves away from one choice.

    Attributes:
        up: to a higher level, and sidesteps of equal size.
        down: for every row r the moves that give back of it.
    """

    up: Moves
    down: tuple[Moves, ...]


def list_options(problem: Problem, ladders: Ladders, choice: Integers, jump: float) -> Options:
    """Every allowed single change of ``choice``. ``O(R·N·K·log(N·K))``.

    Args:
        problem: sizes, and the losses that predict.
        ladders: levels of the problem.
        choice: int64 ``[N]``.
        jump: weight of a change by one level more, in (0, 1].
    """
    rows = np.arange(problem.classes)
    level = ladders.rank[rows, choice]
    steps = ladders.rank - level[:, None]
    klass, item = np.nonzero((steps != 0) & problem.allowed())
    step = steps[klass, item]
    change = problem.sizes[:, klass, item] - problem.sizes[:, klass, choice[klass]]
    blind = jump ** (np.abs(step) - 1.0)
    added = _effects(problem.loss[klass, item] - chosen_losses(problem, choice)[klass])
    grown = ladders.weight[klass, item] - ladders.weight[klass, choice[klass]]
    grown = np.maximum(grown, _least_positive(grown))
    up = (step > 0) | (change == 0).all(axis=0)
    saved = np.maximum(-added, LEAST_EFFECT)

    def pick(which: NDArray[np.bool_], key: Integers, rate: Floats) -> Moves:
        at = np.flatnonzero(which)
        at = at[np.argsort(key[at], kind="stable")]
        return Moves(klass[at], item[at], change[:, at], np.cumsum(blind[at]), np.cumsum(_weights(blind[at], rate[at])))

    lost = np.maximum(added, LEAST_EFFECT)
    down = tuple(pick(row < 0, row, np.abs(row) / lost) for row in change)
    return Options(pick(up, change[0], saved / grown), down)


def _weights(prior: Floats, rate: Floats) -> Floats:
    relative = rate / rate.max(initial=0.0)
    weights = np.zeros(rate.shape[0])
    for power in (1, SHARPNESS):
        part = prior * relative**power
        weights += part / part.sum()
    return weights


def _effects(added: Floats) -> Floats:
    """Changes of loss in units of their median size, so that no scale of losses matters."""
    sizes = np.abs(added[added != 0])
    if sizes.size == 0:
        return added
    with np.errstate(over="ignore"):
        effects: Floats = np.clip(added / np.median(sizes), -LARGEST_EFFECT, LARGEST_EFFECT)
    return effects


def _least_positive(values: Floats) -> float:
    positive = values[values > 0]
    return float(positive.min()) if positive.size else 1.0
