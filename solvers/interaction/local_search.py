"""From a choice to one that no single change and no pair of promising changes makes better."""

from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.interaction.quadratic import AbstractQuadratic
from solvers.problem import Problem
from solvers.solver import Deadline

POOL = 512  # moves among which pairs are looked for
SMALLEST_STEP = 1e-13  # of the size of the losses: less than this is rounding


@dataclass(frozen=True, slots=True, eq=False)
class _Moves:
    """All changes of one class from a choice.

    Attributes:
        change: float64 ``[N, K]``, what each does to the loss; ``inf`` where forbidden, and 0 for the chosen items.
        size: int64 ``[R, N, K]``, exact.
        slack: int64 ``[R]``, what the budgets leave.
    """

    change: Floats
    size: Integers
    slack: Integers


def improve(
    problem: Problem, quadratic: AbstractQuadratic, choice: Integers, prices: Floats, *, max_steps: int, deadline: Deadline
) -> Integers:
    """Take the best single change or pair of changes that keeps the budgets, until there is none.

    Pairs are looked for among the ``POOL`` changes of least loss at the prices of the budgets: an exchange of size between
    two classes is one of them. Every change is exact, so no total is carried along.

    Args:
        problem: losses, sizes, budgets.
        quadratic: its interaction.
        choice: int64 ``[N]``, within the budgets.
        prices: float64 ``[R]``, loss per unit of size.
        max_steps: most changes or pairs to take.
        deadline: looked at before each step.
    """
    allowed = problem.allowed()
    scale = float(np.abs(problem.loss, where=allowed, out=np.zeros(allowed.shape)).max(axis=1).sum())
    rows, choice = np.arange(problem.classes), choice.copy()
    for _ in range(max_steps):
        if deadline.passed():
            break
        moves = _moves(problem, quadratic, choice, rows)
        gain, klass, item = min(_single(moves), _pair(moves, quadratic, choice, prices), key=lambda found: found[0])
        if not gain < -SMALLEST_STEP * scale:
            break
        choice[klass] = item
    return choice


def _moves(problem: Problem, quadratic: AbstractQuadratic, choice: Integers, rows: Integers) -> _Moves:
    own = problem.sizes[:, rows, choice]
    change = problem.loss - problem.loss[rows, choice][:, None] + quadratic.flips(choice)
    change[rows, choice] = 0.0
    return _Moves(change, problem.sizes - own[:, :, None], problem.budgets - own.sum(axis=1))


def _single(moves: _Moves) -> tuple[float, Integers, Integers]:
    """The best change of one class that fits: its gain, class and item."""
    fits = (moves.size <= moves.slack[:, None, None]).all(axis=0)
    change = np.where(fits, moves.change, np.inf)
    best = int(change.argmin())
    klass, item = np.divmod(np.array([best]), change.shape[1])
    return float(change.flat[best]), klass, item


def _pair(moves: _Moves, quadratic: AbstractQuadratic, choice: Integers, prices: Floats) -> tuple[float, Integers, Integers]:
    """The best pair of changes in two classes that fits together."""
    priced = moves.change + np.tensordot(prices, moves.size, axes=1)
    priced[np.arange(choice.shape[0]), choice] = np.inf
    count = min(POOL, int(np.isfinite(priced).sum()))
    if count < 2:
        return np.inf, choice[:0], choice[:0]
    near = np.sort(np.argpartition(priced, count - 1, axis=None)[:count])
    klass, item = np.divmod(near, priced.shape[1])
    change = quadratic.crossings(choice, klass, item)
    change += moves.change[klass, item][:, None]
    change += moves.change[klass, item]
    change[klass[:, None] == klass] = np.inf
    for size, slack in zip(moves.size[:, klass, item], moves.slack.tolist(), strict=True):
        change[size[:, None] > slack - size] = np.inf
    best = int(change.argmin())
    pair = np.array(np.divmod(best, count))
    return float(change.flat[best]), klass[pair], item[pair]
