"""Cells of one format by block and row of the model: what a heat map shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from planner.schemas.curves import CellDocument
from planner.services.tile_labels import row_labels
from planner.services.tile_rows import expert_of, row_of, row_paths


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


def arrange(cells: Sequence[CellDocument]) -> BlockMap:
    """Cells of one format by block and row."""
    blocks: list[int | None] = [*sorted({cell.block for cell in cells if cell.block is not None})]
    if any(cell.block is None for cell in cells):
        blocks.append(None)
    places = [row_of(cell.layer, cell.block, expert_of(cell.layer)) for cell in cells]
    kinds = {row: cell.kind for row, cell in zip(places, cells, strict=True)}
    rows = dict(zip(kinds, row_labels(row_paths(list(kinds)), list(kinds.values())), strict=True))
    groups: dict[tuple[int | None, str], list[CellDocument]] = {}
    for row, cell in zip(places, cells, strict=True):
        groups.setdefault((cell.block, rows[row]), []).append(cell)
    return BlockMap(
        rows=tuple(rows.values()),
        blocks=tuple(blocks),
        groups=groups,
        means={place: _mean(group) for place, group in groups.items()},
    )


def _mean(group: Sequence[CellDocument]) -> float | None:
    losses = [cell.loss for cell in group if cell.loss is not None]
    return sum(losses) / len(losses) if losses else None
