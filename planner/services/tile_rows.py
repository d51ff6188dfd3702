"""Rows of a picture of a model: what the names of its layers are without the numbers of blocks and experts."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

_BEFORE_SEGMENT: Final = re.compile(r"\.(?!\*(?:\.|$))")
"""A dot, but not one before a star."""


_EXPERT: Final = re.compile(r"\.experts\.(\d+)\.")


class TileRow(NamedTuple):
    """A path within the blocks of one list.

    Attributes:
        before: what names begin with, up to the number of the block; ``None`` where they have none.
        behind: what follows the number; in it ``*`` stands for the number of an expert.
    """

    before: str | None
    behind: str

    @property
    def is_of_experts(self) -> bool:
        """Its layers are those of routed experts."""
        return ".*." in self.behind


def row_of(name: str, block: int | None, expert: int | None) -> TileRow:
    """The row of a layer: of ``model.layers.1.mlp.experts.5.up_proj`` it is (``model.layers``, ``mlp.experts.*.up_proj``)."""
    before, behind = None, name
    if block is not None:
        parts = f".{name}".split(f".{block}.", 1)
        if len(parts) > 1:
            before, behind = parts[0][1:], parts[1]
    if expert is not None:
        path, number, rest = behind.rpartition(f".{expert}.")
        behind = f"{path}.*.{rest}" if number else behind
    return TileRow(before, behind)


def expert_of(name: str) -> int | None:
    """Number of the expert that a layer is of, by its name alone; ``None`` of dense layers."""
    found = _EXPERT.search(name)
    return None if found is None else int(found[1])


def row_paths(rows: Sequence[TileRow]) -> list[tuple[str, ...]]:
    """Segments of rows, no two alike: without stars, but for rows that differ in nothing else."""
    plain = [tuple(f"{row.before or ''}.{row.behind.replace('.*.', '.')}".strip(".").split(".")) for row in rows]
    met = Counter(plain)
    return [path if met[path] == 1 else _starred(row) for path, row in zip(plain, rows, strict=True)]


def _starred(row: TileRow) -> tuple[str, ...]:
    """Segments with a star behind each that a number of a block or of an expert follows."""
    path = row.behind if row.before is None else f"{row.before}.*.{row.behind}"
    return tuple(_BEFORE_SEGMENT.split(path))
