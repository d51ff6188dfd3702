"""From a choice to a better one by changes of single classes and of promising pairs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.interaction.quadratic import AbstractQuadratic
from solvers.problem import Problem
from solvers.solver import Deadline

POOL = 512  # moves among which pairs are looked for
TENURE = 12  # steps for which a class does not go back to the item that it left
SMALLEST_STEP = 1e-13  # of the size of the losses: less than this is rounding


@dataclass(frozen=True, slots=True, eq=False)
class _Moves:
    """All changes of one class from a choice.

    Attributes:
        change: float64 ``[N, K]``, what each does to the loss; ``inf`` where forbidden or barred, and for the chosen items.
        size: int64 ``[R, N, K]``, exact.
        slack: int64 ``[R]``, what the budgets leave.
    """

    change: Floats
    size: Integers
    slack: Integers


def improve(
    problem: Problem,
    quadratic: AbstractQuadratic,
    choice: Integers,
    prices: Floats,
    *,
    max_steps: int,
    patience: int,
    deadline: Deadline,
) -> Integers:
    """Take the best single change or pair of changes that keeps the budgets, again and again; the best choice on the way.

    Pairs are looked for among the ``POOL`` changes of least loss at the prices of the budgets: an exchange of size between
    two classes is one of them. Where nothing gets better the least worsening is taken and its way back is barred for a while
    (tabu search; Glover 1989), until ``patience`` steps found nothing. Nothing is drawn at random.

    Args:
        problem: losses, sizes, budgets.
        quadratic: its interaction.
        choice: int64 ``[N]``, within the budgets.
        prices: float64 ``[R]``, loss per unit of size.
        max_steps: most steps.
        patience: steps in a row that may pass without a better choice; 0 ends at the first choice that no step improves.
        deadline: looked at before each step.
    """
    allowed = problem.allowed()
    scale = float(np.abs(problem.loss, where=allowed, out=np.zeros(allowed.shape)).max(axis=1).sum())
    choice, best, height, lowest, since = choice.copy(), choice, 0.0, 0.0, 0
    barred_until = np.zeros(allowed.shape, dtype=np.int64)
    for step in range(max_steps):
        if deadline.passed() or since > patience:
            break
        moves = _moves(problem, quadratic, choice, barred_until > step)
        gain, klass, item = min(_single(moves), _pair(moves, quadratic, choice, prices), key=lambda found: found[0])
        if gain == np.inf or (patience == 0 and not gain < -SMALLEST_STEP * scale):
            break
        barred_until[klass, choice[klass]] = step + TENURE
        choice[klass] = item
        height, since = height + gain, since + 1
        if height < lowest - SMALLEST_STEP * scale:
            best, lowest, since = choice.copy(), height, 0
    return best


def _moves(problem: Problem, quadratic: AbstractQuadratic, choice: Integers, barred: NDArray[np.bool_]) -> _Moves:
    rows = np.arange(choice.shape[0])
    own = problem.sizes[:, rows, choice]
    change = problem.loss - problem.loss[rows, choice][:, None] + quadratic.flips(choice)
    change[barred] = np.inf
    change[rows, choice] = np.inf
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
