"""Rows of least losses on a lattice of sizes, and how two of them are added: the steps of an exact dynamic program."""

import math
from dataclasses import dataclass, field

import numpy as np

from solvers.arrays import Floats, Integers


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Least loss of some classes together for every total of whole units.

    Attributes:
        unit: size of one unit.
        loss: float64 ``[U]``, least loss that takes exactly so many units; ``inf`` where no choice does.
        parts: the two rows that this one adds up; none for a single class.
        klass: the single class, or −1.
        filled: int64, the units that some choice takes, rising.
    """

    unit: int
    loss: Floats
    parts: "tuple[Row, ...]" = ()
    klass: int = -1
    filled: Integers = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "filled", np.flatnonzero(np.isfinite(self.loss)))

    @property
    def length(self) -> int:
        """U, the number of cells."""
        return int(self.loss.shape[0])


def add_rows(first: Row, second: Row) -> Row:
    """Min-plus convolution: the least loss of both rows together, in the common divisor of their units.

    One pass over the row with more filled cells for every filled cell of the other. The sum is kept by remainders of its cells
    modulo the step of the longer row, so that every pass runs over neighbours in memory.
    """
    long, short = (first, second) if first.filled.shape[0] >= second.filled.shape[0] else (second, first)
    unit = math.gcd(first.unit, second.unit)
    step, offset = long.unit // unit, short.unit // unit
    length = (long.length - 1) * step + (short.length - 1) * offset + 1
    total = np.full((step, -(-length // step)), np.inf)
    summed = np.empty(long.loss.shape)
    for cell, loss in zip(short.filled.tolist(), short.loss[short.filled].tolist(), strict=True):
        begin, remainder = divmod(cell * offset, step)
        reached = total[remainder, begin : begin + long.length]
        np.add(long.loss, loss, out=summed)
        np.minimum(reached, summed, out=reached)
    return Row(unit, total.T.ravel()[:length], (long, short))


def split_cell(row: Row, cell: int) -> tuple[int, int]:
    """How many units of each part make the least loss of a filled cell of their sum."""
    long, short = row.parts
    rest = cell * row.unit - short.filled * short.unit
    units = rest // long.unit
    inside = (rest >= 0) & (units * long.unit == rest) & (units < long.length)
    loss = np.where(inside, long.loss[np.where(inside, units, 0)] + short.loss[short.filled], np.inf)
    best = int(loss.argmin())
    return int(units[best]), int(short.filled[best])
