"""Counts: at most or at least so many layers in some formats, as budgets in whole layers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import solvers
from planner.build import Classes
from planner.errors import InvalidRequestError
from planner.rules import matching
from planner.solving.rows import Row
from sensitivity.formats.abstract import AbstractFormat

SEVERAL_LIMITS = solvers.Ilp(backend="highs")  # CP-SAT would take the server past its 200 MB


@dataclass(frozen=True, slots=True)
class Count:
    """How many of the matching layers may or must take a marked format.

    Attributes:
        pattern: shell-style, matches full layer names.
        above_bits: formats with more ``num_bits`` than this are marked; ``None`` where ``formats`` are given.
        formats: names of the marked formats.
        at_most: no more layers than this, or ``None``.
        at_least: no fewer layers than this, or ``None``.
    """

    pattern: str = "*"
    above_bits: int | None = None
    formats: tuple[str, ...] = ()
    at_most: int | None = None
    at_least: int | None = None

    @property
    def what(self) -> str:
        """What is counted, in words."""
        where = "layers" if self.pattern == "*" else f"layers that match {self.pattern!r}"
        marked = f"above {self.above_bits} bits" if self.above_bits is not None else f"in {', '.join(self.formats)}"
        return f"{where} {marked}"


@dataclass(frozen=True, slots=True, eq=False)
class PosedCount:
    """A count over the layer groups of one question.

    Attributes:
        count: what was asked for.
        table: int64 (groups, formats): layers that are counted there.
        upper: the row of ``at_most``, in layers, or ``None``.
        lower: the row of ``at_least``, or ``None``: "at least m of T layers in these formats" is "at most T − m of them in any
            other", so that both are upper limits; it is negative when the pattern matches fewer layers than must be marked.
    """

    count: Count
    table: NDArray[np.int64]
    upper: Row | None
    lower: Row | None


def pose_count(count: Count, classes: Classes) -> PosedCount:
    """Turn a count into rows of whole layers; a tied group counts its members.

    Raises:
        InvalidRequestError: a pattern that matches nothing, or a format that is no candidate.
    """
    members = np.zeros(len(classes.groups), dtype=np.int64)
    np.add.at(members, classes.group_of_layer[matching(count.pattern, classes.layers, of="count")], 1)
    table = members[:, None] * _marked(count, classes)
    upper = lower = None
    if count.at_most is not None:
        upper = Row(f"at most {count.at_most} {count.what}", table, count.at_most)
    if count.at_least is not None:
        total = int(members.sum())
        text = f"at least {count.at_least} of {total} {count.what}"
        lower = Row(text, members[:, None] - table, total - count.at_least)
    return PosedCount(count, table, upper, lower)


def rows_of(counts: Sequence[PosedCount]) -> list[Row]:
    """All limits, in the order of the counts, the upper one of each first."""
    return [row for posed in counts for row in (posed.upper, posed.lower) if row is not None]


def distance_row(choice: NDArray[np.int64], classes: Classes[AbstractFormat], layers: int) -> Row:
    """Differ from an assignment in at least so many layers."""
    members = np.array([len(group) for group in classes.groups], dtype=np.int64)
    table = np.zeros(classes.legal.shape, dtype=np.int64)
    table[np.arange(len(choice)), choice] = members
    return Row(f"at least {layers} layers that differ", table, int(members.sum()) - layers)


def _marked(count: Count, classes: Classes) -> NDArray[np.bool_]:
    """The formats that are counted, bool (formats,)."""
    if count.above_bits is not None:
        return np.array([fmt.num_bits > count.above_bits for fmt in classes.formats], dtype=bool)
    names = [fmt.name for fmt in classes.formats]
    unknown = [name for name in count.formats if name not in names]
    if unknown:
        msg = (
            f"a count names {', '.join(unknown)}, which is not among the candidate formats of this request "
            f"({', '.join(names)}); add it to formats"
        )
        raise InvalidRequestError(msg, formats=names)
    return np.array([name in count.formats for name in names], dtype=bool)
