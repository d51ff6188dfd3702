"""Cells of one format by block and row of the model: what a heat map shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from planner.schemas.curves import CellDocument
from planner.services.tile_labels import row_labels
from planner.services.tile_rows import TileRow, expert_of, row_of, row_paths


@dataclass(frozen=True, slots=True)
class BlockMap:
    """Cells by their place in the model.

    Attributes:
        rows: what the layers of a block are called, in model order: by kind, or by path where two of a kind are in a block.
        blocks: transformer blocks, ascending; ``None``, for what lies outside of them, is the last.
        groups: cells of each (block, row): one, or the experts of a mixture.
        means: their mean loss; ``None`` where no cell has a number.
    """

    rows: tuple[str, ...]
    blocks: tuple[int | None, ...]
    groups: Mapping[tuple[int | None, str], Sequence[CellDocument]]
    means: Mapping[tuple[int | None, str], float | None]

    @property
    def limits(self) -> tuple[float, float] | None:
        """Least and greatest positive mean, the ends of a logarithmic scale; ``None`` without one."""
        positive = [mean for mean in self.means.values() if mean is not None and mean > 0]
        return (min(positive), max(positive)) if positive else None


def arrange(cells: Sequence[CellDocument], among: Sequence[CellDocument] | None = None) -> BlockMap:
    """Cells of one format by block and row.

    Args:
        cells: in model order.
        among: cells, in model order, whose rows and blocks are shown, be there a cell of the format or not; by default its own.
    """
    shown = cells if among is None else among
    blocks: list[int | None] = [*sorted({cell.block for cell in shown if cell.block is not None})]
    if any(cell.block is None for cell in shown):
        blocks.append(None)
    kinds = {_row(cell): cell.kind for cell in shown}
    ordered = _merged(shown)
    rows = dict(zip(ordered, row_labels(row_paths(ordered), [kinds[row] for row in ordered]), strict=True))
    groups: dict[tuple[int | None, str], list[CellDocument]] = {}
    for cell in cells:
        groups.setdefault((cell.block, rows[_row(cell)]), []).append(cell)
    return BlockMap(
        rows=tuple(rows.values()),
        blocks=tuple(blocks),
        groups=groups,
        means={place: _mean(group) for place, group in groups.items()},
    )


def _row(cell: CellDocument) -> TileRow:
    return row_of(cell.layer, cell.block, expert_of(cell.layer))


def _merged(cells: Sequence[CellDocument]) -> list[TileRow]:
    """All rows in an order that each block has its own in: blocks of which only some cells are measured may lack any of them."""
    before: dict[TileRow, set[TileRow]] = {_row(cell): set() for cell in cells}
    for first, second in pairwise(cells):
        experts = {expert_of(first.layer), expert_of(second.layer)} - {None}
        if first.block == second.block and len(experts) < 2:  # of another expert any row may come first
            before[_row(second)].add(_row(first))
    merged: list[TileRow] = []
    while before:
        free = (row for row, earlier in before.items() if not earlier & before.keys() - {row})
        merged.append(next(free, next(iter(before))))
        del before[merged[-1]]
    return merged


def _mean(group: Sequence[CellDocument]) -> float | None:
    losses = [cell.loss for cell in group if cell.loss is not None]
    return sum(losses) / len(losses) if losses else None
