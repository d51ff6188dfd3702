"""The core as a 0/1 program in whole numbers, the same for every backend, and what a backend makes of it."""

from dataclasses import dataclass, replace

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.ilp.bound import Bound
from solvers.ilp.model import Mask, Model, NoChoiceError


@dataclass(frozen=True, slots=True, eq=False)
class ProgramRow:
    """``Σ_e values[e]·z[columns[e]] ≤ room``, in exact integers; columns from C on are helpers."""

    columns: Integers
    values: Integers
    room: int


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Choose one column of each class; least cost; every row within its room.

    Attributes:
        klass: int64 ``[C]``, rising from 0 without a hole.
        cells: int64 ``[C, 2]``, class and item in the problem.
        loss: float64 ``[C]``, above the least column of the class.
        rows: what must be kept.
        helpers: number of helper columns.
        base: int64 ``[N]``, the item of each class that has one column only.
        gap: height of the incumbent above the bound, > 0; of the dearest column without an incumbent.
        hint: int64, the columns of the incumbent; ``None`` without one.
    """

    klass: Integers
    cells: Integers
    loss: Floats
    rows: list[ProgramRow]
    helpers: int
    base: Integers
    gap: float
    hint: Integers | None

    @property
    def columns(self) -> int:
        """C, the number of columns that are cells."""
        return int(self.klass.shape[0])

    def choice(self, chosen: Integers) -> Integers:
        """The whole choice that some columns, one a class, stand for."""
        choice = self.base.copy()
        choice[self.cells[chosen, 0]] = self.cells[chosen, 1]
        return choice

    def without(self, chosen: Integers) -> "Program":
        """The same program with a row that excludes a choice which some row cannot keep, and all that are as large there.

        A row that these columns break is broken by every choice that takes as much of it in each class (a cover). Where
        no row is broken, the choice alone is excluded.
        """
        columns = chosen
        for row in self.rows:
            weight = np.zeros(self.columns + self.helpers, dtype=np.int64)
            weight[row.columns] = row.values
            if not weight[self.columns :].any() and int(weight[chosen].sum()) > row.room:
                least = np.zeros(int(self.klass[-1]) + 1, dtype=np.int64)
                least[self.klass[chosen]] = weight[chosen]
                columns = np.flatnonzero(weight[: self.columns] >= least[self.klass])
                break
        ones = np.ones(columns.shape[0], dtype=np.int64)
        return replace(self, rows=[*self.rows, ProgramRow(columns, ones, chosen.shape[0] - 1)])


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a backend says of a program.

    Attributes:
        chosen: int64, one column a class; ``None`` when it found none.
        closed: its search is exhausted: ``chosen`` is best within ``error``, or without ``chosen`` no choice exists.
        nodes: branches or branch-and-bound nodes.
        error: how much worse than the best ``chosen`` may be, in the losses of the program.
    """

    chosen: Integers | None
    closed: bool
    nodes: int
    error: float = 0.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How long a backend may search; the deadline is the solver's.

    Attributes:
        time: CP-SAT's deterministic time.
        nodes: HiGHS's nodes.
        seconds: wall seconds, ``inf`` without a deadline.
        workers: threads of CP-SAT.
        seed: of either.
    """

    time: float
    nodes: int
    seconds: float
    workers: int
    seed: int


def build_program(model: Model, bound: Bound, cells: Mask, incumbent: Integers | None, gap: float) -> Program:
    """The program over some cells, at least one of each class; classes with a single cell are taken out of the rows.

    A cell that alone loses more above the least of its class than the incumbent does in all classes is left out: that bounds
    the numbers, and so the error of whole costs.

    Raises:
        NoChoiceError: what the single cells take leaves a row no room.
    """
    if incumbent is not None:
        cells = _worth_a_look(model, cells, incumbent)
    base = np.where(cells, bound.reduced, np.inf).argmin(axis=1)
    several = cells.sum(axis=1) > 1
    klass, item = np.nonzero(cells & several[:, None])
    numbers = np.cumsum(several) - 1
    place = np.full(cells.shape, -1)
    place[klass, item] = np.arange(klass.shape[0])
    loss = model.loss[klass, item]
    least = np.full(cells.shape[0], np.inf)
    np.minimum.at(least, klass, loss)
    hint = None if incumbent is None else place[np.flatnonzero(several), incumbent[several]]
    return Program(
        numbers[klass],
        np.column_stack((klass, item)),
        loss - least[klass],
        _rows(model, place, base, several),
        model.helpers,
        base,
        gap,
        hint,
    )


def _worth_a_look(model: Model, cells: Mask, incumbent: Integers) -> Mask:
    loss = np.where(cells, model.loss, np.inf)
    loss -= loss.min(axis=1, keepdims=True)
    kept: Mask = loss <= float(loss[np.arange(incumbent.shape[0]), incumbent].sum()) * (1 + 1e-9)
    return kept & cells


def _rows(model: Model, place: Integers, base: Integers, several: Mask) -> list[ProgramRow]:
    columns, rows = int(place.max(initial=-1)) + 1, []
    for row in model.rows:
        single = ~several[row.classes]
        taken = int(row.above[single, base[row.classes[single]]].sum())
        at = place[row.everywhere]
        inside = (at >= 0) & (row.above != 0)
        own = np.flatnonzero(row.helpers)
        values = np.concatenate((row.above[inside], row.helpers[own]))
        room = row.room - taken
        if values.size:
            rows.append(ProgramRow(np.concatenate((at[inside], columns + row.first_helper + own)), values, room))
        elif room < 0:
            msg = "the classes with a single cell take more than a row has"
            raise NoChoiceError(msg)
    return rows
