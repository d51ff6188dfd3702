"""Choices for many budgets from one order of hull steps: what fits in order, then what fits in the rest."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.problem import Problem
from solvers.steps import Steps

AHEAD = 8  # steps, from the first that does not fit on, that the rest of a budget may buy
BEHIND = 8  # steps taken last, that it may exchange
NONE = -1  # in place of a class


@dataclass(slots=True, eq=False)
class Plans:
    """The choices under feasible budgets while they are made; the budgets never fall.

    Attributes:
        room: int64 ``[B]``, the budgets above the floor.
        after: int64 ``[B]``, how many steps were taken in order: the position of the first that does not fit.
        multiplier: float64 ``[B]``, λ, the rate of that step; 0 where all were taken.
        slack: int64 ``[B]``, room left.
        cost: float64 ``[B]``, Σ reduced costs of the choice.
        loss: float64 ``[B]``.
        choices: ``[B, N]``.
    """

    room: Integers
    after: Integers
    multiplier: Floats
    slack: Integers
    cost: Floats
    loss: Floats
    choices: NDArray[np.signedinteger]


def size_at_start(problem: Problem, steps: Steps) -> int:
    """The floor: total size where all hulls begin."""
    return int(problem.sizes[0, np.arange(problem.classes), steps.start].sum())


def least_loss(problem: Problem) -> float:
    """Total loss where all hulls end."""
    return float(problem.loss.min(axis=1, initial=np.inf).sum())


def take_in_order(problem: Problem, steps: Steps, room: Integers) -> Plans:
    """The steps that fit under each budget, in their order, up to the first that does not.

    Args:
        problem: where the steps come from.
        steps: the order.
        room: int64 ``[B]``, budgets above the floor, ≥ 0, never falling.
    """
    used = np.cumsum(steps.grown)
    after = np.searchsorted(used, room, side="right")
    slack = room - np.where(after > 0, used[after - 1], 0) if steps.count else room.copy()
    multiplier = np.zeros(room.shape)
    open_ = after < steps.count
    multiplier[open_] = steps.value(after[open_])
    loss = least_loss(problem) + _left_to_save(steps.saved, after)
    return Plans(room, after, multiplier, slack, np.zeros(room.shape), loss, _rows(problem, steps, after))


def _left_to_save(saved: Floats, after: Integers) -> Floats:
    """Loss that the steps from ``after`` on would save, summed from the end, where it is small."""
    edges = np.unique(after)
    inner = edges[edges < saved.shape[0]]
    rest = np.zeros(edges.shape)
    if inner.size:
        rest[: inner.shape[0]] = np.cumsum(np.add.reduceat(saved, inner)[::-1])[::-1]
    left: Floats = rest[np.searchsorted(edges, after)]
    return left


def _rows(problem: Problem, steps: Steps, after: Integers) -> NDArray[np.signedinteger]:
    """Choices after so many steps; each row is the one before it and the steps between them."""
    kind = np.min_scalar_type(-max(problem.items, 1))
    choices = np.empty((after.shape[0], problem.classes), dtype=kind)
    item, row, done = steps.item(slice(None)).astype(kind), steps.start.astype(kind), 0
    for j, end in enumerate(after.tolist()):
        if end > done:
            row[steps.klass[done:end]] = item[done:end]  # of a repeated class the last step stays
            done = end
        choices[j] = row
    return choices


def spend_rest(steps: Steps, plans: Plans) -> None:
    """Take later steps, each alone or in exchange for a step that was taken, while that fits and saves loss; in place.

    Again and again the best pair of one of the next ``AHEAD`` steps and one (or none) of the last ``BEHIND``. Only steps that
    start or end where their class stands are looked at, and a class is changed once.
    """
    row = np.flatnonzero((plans.slack > 0) & (plans.after < steps.count))
    ahead = plans.after[row, None] + np.arange(AHEAD)
    behind = plans.after[row, None] - np.arange(1, BEHIND + 2)
    ahead_ready, behind_ready = ahead < steps.count, behind >= 0
    behind_ready[:, BEHIND] = False
    ahead, behind = np.minimum(ahead, steps.count - 1), np.maximum(behind, 0)
    ahead_class, behind_class = steps.klass[ahead], steps.klass[behind]
    ahead_ready &= plans.choices[row[:, None], ahead_class] == steps.previous(ahead)
    behind_ready &= plans.choices[row[:, None], behind_class] == steps.item(behind)
    saved = np.where(ahead_ready, steps.saved[ahead], -np.inf)
    given = np.where(behind_ready, steps.saved[behind], np.inf)
    grown, freed = steps.grown[ahead], steps.grown[behind]
    given[:, BEHIND], freed[:, BEHIND], behind_class[:, BEHIND] = 0.0, 0, NONE
    gain, growth = saved[:, :, None] - given[:, None, :], grown[:, :, None] - freed[:, None, :]
    gain[ahead_class[:, :, None] == behind_class[:, None, :]] = -np.inf
    while row.size:
        fitting = np.where(growth <= plans.slack[row, None, None], gain, 0.0).reshape(row.shape[0], -1)
        best = fitting.argmax(axis=1)
        live = np.flatnonzero(fitting[np.arange(row.shape[0]), best] > 0)
        if live.shape[0] < row.shape[0]:
            row, best, gain, growth = row[live], best[live], gain[live], growth[live]
            ahead, behind, ahead_class, behind_class = ahead[live], behind[live], ahead_class[live], behind_class[live]
        here = np.arange(row.shape[0])
        a, b = np.divmod(best, BEHIND + 1)
        ka, kb = ahead_class[here, a], behind_class[here, b]
        some = kb != NONE
        _move(steps, plans, row[some], behind[here, b][some], back=True)
        _move(steps, plans, row, ahead[here, a], back=False)
        gain[(ahead_class == ka[:, None]) | (ahead_class == kb[:, None])] = -np.inf
        gone = (behind_class == ka[:, None]) | (some[:, None] & (behind_class == kb[:, None]))
        np.swapaxes(gain, 1, 2)[gone] = -np.inf


def _move(steps: Steps, plans: Plans, row: Integers, step: Integers, *, back: bool) -> None:
    """Take or give back one step in each of some rows."""
    sign = -1 if back else 1
    grown, saved = steps.grown[step], steps.saved[step]
    plans.choices[row, steps.klass[step]] = steps.previous(step) if back else steps.item(step)
    plans.slack[row] -= sign * grown
    plans.loss[row] -= sign * saved
    plans.cost[row] += np.maximum(sign * (plans.multiplier[row] * grown - saved), 0.0)


def keep_monotone(plans: Plans) -> None:
    """Give a budget the choice of a smaller one where that has the smaller loss; in place."""
    least = np.minimum.accumulate(plans.loss)
    for j in np.flatnonzero(plans.loss > least).tolist():
        gap = plans.cost[j] + plans.multiplier[j] * plans.slack[j] - (plans.loss[j] - plans.loss[j - 1])
        plans.choices[j], plans.loss[j] = plans.choices[j - 1], plans.loss[j - 1]
        plans.slack[j] = plans.room[j] - plans.room[j - 1] + plans.slack[j - 1]
        plans.cost[j] = max(gap - plans.multiplier[j] * plans.slack[j], 0.0)
