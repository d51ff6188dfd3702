"""The sensitivity heat map: block × kind for one format, laid out for an SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from planner.curve_tools.block_map import arrange
from planner.schemas.curves import CellDocument

CELL = 26
LEFT = 96
TOP = 22
# Anchors of cividis (Nuñez, Anderton, Renslow 2018): rising lightness, read alike with and without colour-blindness.
_ANCHORS = ((0, 34, 78), (42, 63, 109), (87, 93, 109), (125, 124, 120), (165, 156, 116), (210, 192, 96), (254, 232, 56))
_OUTSIDE = "outside"


@dataclass(frozen=True, slots=True)
class Tile:
    """One rectangle: its place, its colour (``None``: no number) and what it says when pointed at."""

    x: int
    y: int
    fill: str | None
    title: str


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Everything the template draws.

    Attributes:
        tiles: rectangles of ``CELL`` units.
        columns: x of each column's middle, and its label (every fifth block, and what lies outside of the blocks).
        rows: y of each row's middle, and the layer kind.
        width: of the whole drawing.
        height: of the whole drawing.
        least: smallest positive loss: the dark end of the scale; ``None`` when nothing was measured.
        greatest: largest loss: the light end.
        legend: colours of the scale from least to greatest.
    """

    tiles: tuple[Tile, ...]
    columns: tuple[tuple[float, str], ...]
    rows: tuple[tuple[float, str], ...]
    width: int
    height: int
    least: float | None
    greatest: float | None
    legend: tuple[str, ...]


def lay_out(cells: Sequence[CellDocument], unit: str) -> HeatMap:
    """Lay out the cells of one format. Layers of one block and kind (experts) share a tile, which shows their mean."""
    drawn = arrange(cells)
    kinds, blocks, means = drawn.kinds, drawn.blocks, drawn.means
    least, greatest = drawn.limits or (None, None)
    tiles = tuple(
        Tile(
            x=LEFT + CELL * blocks.index(block),
            y=TOP + CELL * kinds.index(kind),
            fill=_fill(means[block, kind], least, greatest),
            title=_title(group, means[block, kind], unit),
        )
        for (block, kind), group in drawn.groups.items()
    )
    return HeatMap(
        tiles=tiles,
        columns=tuple((LEFT + CELL * (at + 0.5), _label(block, at, len(blocks))) for at, block in enumerate(blocks)),
        rows=tuple((TOP + CELL * (at + 0.5), kind) for at, kind in enumerate(kinds)),
        width=LEFT + CELL * len(blocks) + 4,
        height=TOP + CELL * len(kinds) + 4,
        least=least,
        greatest=greatest,
        legend=tuple(colour(step / 23) for step in range(24)),
    )


def colour(position: float) -> str:
    """Colour at a position of the scale, 0 (dark: harmless) to 1 (light: sensitive), as ``#rrggbb``."""
    at = min(max(position, 0.0), 1.0) * (len(_ANCHORS) - 1)
    low = min(int(at), len(_ANCHORS) - 2)
    pairs = zip(_ANCHORS[low], _ANCHORS[low + 1], strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (at - low)):02x}" for a, b in pairs)


def _fill(loss: float | None, least: float | None, greatest: float | None) -> str | None:
    """The colour of a loss on a logarithmic scale; a loss of zero is as harmless as can be."""
    if loss is None:
        return None
    if loss <= 0 or least is None or greatest is None:
        return colour(0)
    if math.log(least) == math.log(greatest):
        return colour(0.5)
    low, high = math.log(least), math.log(greatest)
    return colour((math.log(loss) - low) / (high - low))


def _label(block: int | None, at: int, count: int) -> str:
    if block is None:
        return _OUTSIDE if count == 1 else "–"
    return str(block) if at % 5 == 0 else ""


def _title(group: Sequence[CellDocument], mean: float | None, unit: str) -> str:
    first = group[0]
    if len(group) > 1:
        value = "not measured" if mean is None else f"mean {mean:.3g} {unit}"
        return f"{first.kind} of block {first.block}, {len(group)} layers: {value}"
    if first.loss is None:
        return f"{first.layer}: {first.status}"
    error = "" if first.standard_error is None else f" ± {first.standard_error:.1g}"
    return f"{first.layer}: {first.loss:.3g}{error} {unit}"
