"""A first choice that keeps the rows: the cheapest one, mended and then improved a class at a time."""

from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.ilp.bound import Bound, cells_near
from solvers.ilp.model import Model

CELLS = 4_096  # cells beside the cheapest of each class that are looked at
MOST_ROWS = 16  # more rows, or rows with helpers, are left to the integer program
STEPS = 400


@dataclass(slots=True, eq=False)
class _State:
    """A choice under repair, and the cells that it may change to; all cells of the classes that have a second one.

    Attributes:
        choice: int64 ``[N]``.
        at: int64 ``[N]``, place of the chosen cell of each class.
        klass: int64 ``[C]``, class of each cell.
        item: int64 ``[C]``.
        cost: float64 ``[C]``, reduced cost.
        loss: float64 ``[C]``.
        takes: int64 ``[M, C]``, what the cell takes of each row.
        totals: int64 ``[M]``, what the choice takes.
        rooms: int64 ``[M]``.
    """

    choice: Integers
    at: Integers
    klass: Integers
    item: Integers
    cost: Floats
    loss: Floats
    takes: Integers
    totals: Integers
    rooms: Integers

    def keeps_rows(self) -> bool:
        return bool((self.totals <= self.rooms).all())

    def after(self) -> Integers:
        """Totals after each of the changes, int64 ``[M, C]``."""
        return self.takes - self.takes[:, self.at[self.klass]] + self.totals[:, None]

    def change_to(self, cell: int) -> None:
        i = int(self.klass[cell])
        self.totals += self.takes[:, cell] - self.takes[:, self.at[i]]
        self.choice[i], self.at[i] = self.item[cell], cell


def repaired(model: Model, bound: Bound) -> Integers | None:
    """A choice that keeps every row, int64 ``[N]``, or ``None`` where steps of one class do not lead to one."""
    if len(model.rows) > MOST_ROWS or model.helpers:
        return None
    state = _start(model, bound)
    steps = 0
    while not state.keeps_rows():
        steps += 1
        if steps > STEPS or not _mend(state):
            return None
    for _ in range(STEPS):
        if not _improve(state):
            break
    return state.choice


def _start(model: Model, bound: Bound) -> _State:
    near = cells_near(bound.reduced, CELLS)
    near &= (near.sum(axis=1) > 1)[:, None]
    klass, item = np.nonzero(near)
    choice, at = bound.cheapest(), np.full(near.shape[0], -1)
    own = item == choice[klass]
    at[klass[own]] = np.flatnonzero(own)
    takes, totals = np.zeros((len(model.rows), klass.shape[0]), dtype=np.int64), np.empty(len(model.rows), dtype=np.int64)
    for r, row in enumerate(model.rows):
        place = np.full(near.shape[0], -1)
        place[row.classes] = np.arange(row.classes.shape[0])
        seen = place[klass] >= 0
        takes[r, seen] = row.above[place[klass[seen]], item[seen]]
        totals[r] = row.above[np.arange(row.classes.shape[0]), choice[row.classes]].sum()
    rooms = np.array([row.room for row in model.rows], dtype=np.int64)
    return _State(choice, at, klass, item, bound.reduced[near], model.loss[near], takes, totals, rooms)


def _mend(state: _State) -> bool:
    """The change that takes back most of what is too much for its reduced cost; False when none takes back anything."""
    scale = np.maximum(state.rooms, 1).astype(np.float64)
    now = float((np.maximum(state.totals - state.rooms, 0) / scale).sum())
    gain = now - (np.maximum(state.after() - state.rooms[:, None], 0) / scale[:, None]).sum(axis=0)
    cells = np.flatnonzero(gain > now * 1e-12)
    if cells.size == 0:
        return False
    price = np.maximum(state.cost[cells] - state.cost[state.at[state.klass[cells]]], 0.0)
    smallest = float(price[price > 0].min(initial=1.0)) * 1e-3
    state.change_to(int(cells[((price + smallest) / np.minimum(gain[cells], now)).argmin()]))
    return True


def _improve(state: _State) -> bool:
    """The change that keeps the rows and saves most loss; False when none saves any."""
    saved = state.loss[state.at[state.klass]] - state.loss
    cells = np.flatnonzero(saved > 0)
    cells = cells[(state.after()[:, cells] <= state.rooms[:, None]).all(axis=0)]
    if cells.size == 0:
        return False
    state.change_to(int(cells[saved[cells].argmax()]))
    return True
