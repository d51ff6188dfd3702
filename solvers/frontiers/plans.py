"""Choices for many budgets from one coarse order of hull steps: what fits in order, then what fits in the rest."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.frontiers.coarse import sort_coarsely
from solvers.hulls.steps import StepGrid, Steps
from solvers.problem import Problem

AHEAD = 6  # steps, from the first that does not fit on, that the rest of a budget may buy
BEHIND = 6  # steps taken last, that it may exchange
ROUNDS = 2  # of the best pair
OFFSETS = np.append(np.arange(AHEAD), np.arange(-1, -BEHIND - 2, -1))  # from the first step that does not fit; one is no step
NOWHERE = -2  # an item that no class stands at
NO_CLASS = -1  # not any step's


@dataclass(slots=True, eq=False)
class Plans:
    """The choices under feasible budgets while they are made; the budgets never fall.

    Attributes:
        room: int64 ``[B]``, the budgets above the floor.
        steps: the steps near which a budget ends, by falling rate; all others were taken or not as a whole.
        after: int64 ``[B]``, the position among ``steps`` of the first step that does not fit; its end when all were taken.
        multiplier: float64 ``[B]``, λ, the rate of that step; 0 where all were taken.
        slack: int64 ``[B]``, room left.
        cost: float64 ``[B]``, Σ reduced costs of the choice.
        loss: float64 ``[B]``.
        choices: ``[B, N]``.
    """

    room: Integers
    steps: Steps
    after: Integers
    multiplier: Floats
    slack: Integers
    cost: Floats
    loss: Floats
    choices: NDArray[np.signedinteger]


def least_loss(problem: Problem) -> float:
    """Total loss where all hulls end."""
    return float(problem.loss.T.min(axis=0, initial=np.inf).sum())


def take_in_order(grid: StepGrid, room: Integers, least: float) -> Plans:
    """The steps that fit under each budget, by falling rate, up to the first that does not.

    Args:
        grid: the hulls.
        room: int64 ``[B]``, budgets above the floor, ≥ 0, never falling.
        least: total loss where all hulls end.
    """
    coarse = sort_coarsely(grid, room)
    steps = coarse.steps
    after = np.searchsorted(coarse.used, room, side="right")
    open_ = np.flatnonzero(after < steps.count)
    taken, multiplier = np.full(room.shape, coarse.total), np.zeros(room.shape)
    taken[open_] = coarse.used[after[open_]] - steps.grown[after[open_]]
    multiplier[open_] = steps.value(after[open_])
    first = coarse.first_budgets(after)
    saved = np.bincount(first, weights=grid.saved.ravel()[grid.cell], minlength=room.shape[0] + 1)
    left = np.cumsum(saved[:0:-1], dtype=np.float64)[::-1]  # summed from the end, where it is small
    return Plans(
        room, steps, after, multiplier, room - taken, np.zeros(room.shape), least + left, _rows(grid, first, room.shape[0])
    )


def _rows(grid: StepGrid, first: Integers, count: int) -> NDArray[np.signedinteger]:
    """The choices, ``[count, N]``, when every step is taken from its first budget on."""
    items, classes = grid.value.shape
    kind = np.min_scalar_type(-max(items, 1))
    places = np.zeros((count + 1, classes), dtype=kind)
    flat, at = places.reshape(-1), first * classes + grid.cell
    begins = np.searchsorted(grid.cell, np.arange(items + 1) * classes).tolist()
    for place in range(1, items):
        flat[at[begins[place] : begins[place + 1]] - place * classes] = place  # of one class and budget the last place stays
    rows: NDArray[np.signedinteger] = places[:count]
    for before, row in pairwise(rows):
        np.maximum(before, row, out=row)
    item = grid.items.item.astype(kind)
    if np.array_equal(item[:, 0], np.arange(items)) and item.shape[1] == 1:
        return rows
    klass = np.arange(classes) if item.shape[1] > 1 else 0
    for row in rows:
        row[:] = item[row, klass]
    return rows


def spend_rest(plans: Plans) -> None:
    """Take later steps, each alone or in exchange for a step that was taken, where that fits and saves loss; in place.

    Up to ``ROUNDS`` times the best pair of one of the next ``AHEAD`` steps and one, or none, of the last ``BEHIND`` given back.
    """
    row = np.flatnonzero((plans.slack > 0) & (plans.after < plans.steps.count))
    moves = _moves_near(plans.steps, plans.after[row])
    for _ in range(ROUNDS):
        saved = np.where(plans.choices[row, moves.klass] == moves.begin, moves.saved, -np.inf)
        saved[-1] = 0.0  # nothing is given back
        gain = saved[:AHEAD, None] + saved[AHEAD:]
        fits = moves.grown[:AHEAD, None] <= plans.slack[row] - moves.grown[AHEAD:]
        gain = np.where(fits & (moves.klass[:AHEAD, None] != moves.klass[AHEAD:]), gain, 0.0)
        gain = gain.reshape(AHEAD * (BEHIND + 1), row.shape[0])
        pair = gain.argmax(axis=0)
        gain = gain[pair, np.arange(row.shape[0])]
        live = np.flatnonzero(gain > 0)
        if live.size == 0:
            return
        row, moves = row[live], moves.pick(live)
        _make_pairs(plans, row, moves, pair[live], gain[live])


@dataclass(frozen=True, slots=True, eq=False)
class _Moves:
    """Steps that may be taken, then steps that may be given back, for each of some rows; all arrays ``[W, rows]``.

    Attributes:
        klass: the class that moves.
        begin: the item where it has to stand.
        end: the item where it stands then.
        grown: what that adds to the size, < 0 when a step is given back.
        saved: the loss that it saves, < 0 when a step is given back.
    """

    klass: Integers
    begin: Integers
    end: Integers
    grown: Integers
    saved: Floats

    def pick(self, live: Integers) -> "_Moves":
        """Some of the rows."""
        if live.shape[0] == self.klass.shape[1]:
            return self
        at = (slice(None), live)
        return _Moves(self.klass[at], self.begin[at], self.end[at], self.grown[at], self.saved[at])


def _moves_near(steps: Steps, after: Integers) -> _Moves:
    """``AHEAD`` steps from ``after`` on, ``BEHIND`` steps before it, and a last line that gives nothing back."""
    step = after + OFFSETS[:, None]
    none = (step < 0) | (step >= steps.count)
    none[-1] = True
    step[none] = 0
    klass, previous, item = steps.klass[step], steps.previous(step), steps.item(step)
    grown, saved = steps.grown[step], steps.saved[step]
    begin, end = previous.copy(), item.copy()
    begin[AHEAD:], end[AHEAD:] = item[AHEAD:], previous[AHEAD:]
    begin[none] = NOWHERE
    klass[-1], grown[-1] = NO_CLASS, 0
    np.negative(grown[AHEAD:], out=grown[AHEAD:])
    np.negative(saved[AHEAD:], out=saved[AHEAD:])
    return _Moves(klass, begin, end, grown, saved)


def _make_pairs(plans: Plans, row: Integers, moves: _Moves, pair: Integers, gain: Floats) -> None:
    """One pair of moves in every row; in place."""
    column = np.arange(row.shape[0])
    taken, given = pair // (BEHIND + 1), pair % (BEHIND + 1) + AHEAD
    growth = moves.grown[taken, column] + moves.grown[given, column]
    plans.slack[row] -= growth
    plans.loss[row] -= gain
    plans.cost[row] += np.maximum(plans.multiplier[row] * growth - gain, 0.0)
    plans.choices[row, moves.klass[taken, column]] = moves.end[taken, column]
    back = np.flatnonzero(given < AHEAD + BEHIND)
    row, column, given = row[back], back, given[back]
    plans.choices[row, moves.klass[given, column]] = moves.end[given, column]


def keep_monotone(plans: Plans) -> None:
    """Give a budget the choice of a smaller one where that has the smaller loss; in place."""
    least = np.minimum.accumulate(plans.loss)
    for j in np.flatnonzero(plans.loss > least).tolist():
        gap = plans.cost[j] + plans.multiplier[j] * plans.slack[j] - (plans.loss[j] - plans.loss[j - 1])
        plans.choices[j], plans.loss[j] = plans.choices[j - 1], plans.loss[j - 1]
        plans.slack[j] = plans.room[j] - plans.room[j - 1] + plans.slack[j - 1]
        plans.cost[j] = max(gap - plans.multiplier[j] * plans.slack[j], 0.0)
