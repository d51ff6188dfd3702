"""Cells of one format by block and kind: what a heat map shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from planner.schemas.curves import CellDocument


@dataclass(frozen=True, slots=True)
class BlockMap:
    """Cells by their place in the model.

    Attributes:
        kinds: layer kinds in model order.
        blocks: transformer blocks, ascending; ``None``, for what lies outside of them, is the last.
        groups: cells of each (block, kind): one, or the experts of a mixture.
        means: their mean loss; ``None`` where no cell has a number.
    """

    kinds: tuple[str, ...]
    blocks: tuple[int | None, ...]
    groups: Mapping[tuple[int | None, str], Sequence[CellDocument]]
    means: Mapping[tuple[int | None, str], float | None]

    @property
    def limits(self) -> tuple[float, float] | None:
        """Least and greatest positive mean, the ends of a logarithmic scale; ``None`` without one."""
        positive = [mean for mean in self.means.values() if mean is not None and mean > 0]
        return (min(positive), max(positive)) if positive else None


def arrange(cells: Sequence[CellDocument]) -> BlockMap:
    """Cells of one format by block and kind."""
    blocks: list[int | None] = [*sorted({cell.block for cell in cells if cell.block is not None})]
    if any(cell.block is None for cell in cells):
        blocks.append(None)
    groups: dict[tuple[int | None, str], list[CellDocument]] = {}
    for cell in cells:
        groups.setdefault((cell.block, cell.kind), []).append(cell)
    return BlockMap(
        kinds=tuple(dict.fromkeys(cell.kind for cell in cells)),
        blocks=tuple(blocks),
        groups=groups,
        means={place: _mean(group) for place, group in groups.items()},
    )


def _mean(group: Sequence[CellDocument]) -> float | None:
    losses = [cell.loss for cell in group if cell.loss is not None]
    return sum(losses) / len(losses) if losses else None
