"""Pictures of error curves: heat map, and scatter of two settings, in colours that colour-blind eyes read alike."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from planner.curve_tools.block_map import BlockMap, arrange
from planner.schemas.curve_tools import ComparedCell, ComparisonDocument
from planner.schemas.curves import CurvesDocument
from sensitivity.probe_facts import is_ranking

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = "osD^vP*X<>hp"
_ALL_TICKED = 16
"""Blocks that all have a number below them; of more, each fifth has."""


def draw_heat_map(curves: CurvesDocument, path: Path) -> Path:
    """Loss of each layer (block × row of the model, experts by their mean) on a log scale, one panel a format."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    formats = list(dict.fromkeys(cell.format for cell in curves.items))
    panels = [arrange([cell for cell in curves.items if cell.format == name], among=curves.items) for name in formats]
    limits = [panel.limits for panel in panels if panel.limits is not None]
    norm = LogNorm(vmin=min(low for low, _ in limits), vmax=max(high for _, high in limits)) if limits else None
    figure = Figure(figsize=(11, 1.1 + 1.5 * len(formats)), layout="constrained")
    axes = figure.subplots(len(formats), 1, squeeze=False)[:, 0]
    image = None
    for axis, name, panel in zip(axes, formats, panels, strict=True):
        image = axis.imshow(_table(panel), aspect="auto", norm=norm, cmap=colormaps["cividis"])
        axis.set_yticks(range(len(panel.rows)), panel.rows, fontsize=7)
        step = 1 if len(panel.blocks) <= _ALL_TICKED else 5
        ticks = [at for at, block in enumerate(panel.blocks) if block is None or block % step == 0]
        axis.set_xticks(ticks, ["–" if panel.blocks[at] is None else str(panel.blocks[at]) for at in ticks], fontsize=7)
        axis.set_title(name, loc="left", fontsize=9)
    axes[-1].set_xlabel("block" + (" (–: outside of the blocks)" if None in panels[-1].blocks else ""))
    if image is not None:
        figure.colorbar(image, ax=list(axes), label=f"loss ({curves.unit})")
    figure.suptitle(f"Sensitivity by layer and format ({curves.setting.probe})", fontsize=11)
    figure.savefig(path, dpi=110)
    return path


def draw_comparison(comparison: ComparisonDocument, path: Path) -> Path:
    """First over second, both logarithmic, with error bars and, where the units are the same, the line of equal losses."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6.5), layout="constrained")
    axis = figure.subplots()
    positive = [cell for cell in comparison.cells if cell.first > 0 and cell.second > 0]
    names = [name for name in comparison.first.formats if any(cell.format == name for cell in positive)]
    for at, name in enumerate(names):
        of_format = [cell for cell in positive if cell.format == name]
        colour = colormaps["viridis"](0.9 * at / max(1, len(names) - 1))
        _draw_points(axis, of_format, label=name, colour=colour, marker=_MARKERS[at % len(_MARKERS)])
    axis.set_xscale("log")
    axis.set_yscale("log")
    if positive and comparison.first_unit == comparison.second_unit and not is_ranking(comparison.first.probe):
        ends = [end(value for cell in positive for value in (cell.first, cell.second)) for end in (min, max)]
        axis.plot(ends, ends, "-", color="0.6", linewidth=1, zorder=0, label="equal")
    left_out = len(comparison.cells) - len(positive)
    axis.set_xlabel(f"{_name(comparison, second=True)} ({comparison.second_unit})")
    axis.set_ylabel(f"{_name(comparison, second=False)} ({comparison.first_unit})")
    ranks = "" if comparison.overall.spearman is None else f", rank correlation {comparison.overall.spearman:.3f}"
    axis.set_title(f"{len(positive)} cells{ranks}{f'; {left_out} not positive' if left_out else ''}", fontsize=10)
    axis.grid(visible=True, which="major", alpha=0.25)
    if positive:
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    return path


def _table(panel: BlockMap) -> np.ndarray:
    """Mean losses, float64 (rows, blocks); NaN, which is left white, where there is no positive number."""
    table = np.full((len(panel.rows), len(panel.blocks)), np.nan)
    for (block, row), mean in panel.means.items():
        if mean is not None and mean > 0:
            table[panel.rows.index(row), panel.blocks.index(block)] = mean
    return table


def _draw_points(axis: "Axes", cells: Sequence[ComparedCell], *, label: str, colour: object, marker: str) -> None:
    axis.errorbar(
        [cell.second for cell in cells],
        [cell.first for cell in cells],
        xerr=_bars([(cell.second, cell.second_error) for cell in cells]),
        yerr=_bars([(cell.first, cell.first_error) for cell in cells]),
        fmt=marker,
        markersize=4,
        elinewidth=0.5,
        alpha=0.8,
        color=colour,
        label=label,
    )


def _bars(values: Sequence[tuple[float, float | None]]) -> np.ndarray:
    """Lengths of the error bars, float64 (2, cells): one standard error, downwards never to zero, which a log scale has not."""
    errors = np.array([error or 0.0 for _, error in values])
    return np.stack([np.minimum(errors, [0.9 * value for value, _ in values]), errors])


def _name(comparison: ComparisonDocument, *, second: bool) -> str:
    """Probe and rounding, with the start of the id where these are the same."""
    one, other = comparison.first, comparison.second
    if second:
        one, other = other, one
    name = f"{one.probe}, {one.rounding}"
    return f"{name}, {one.id[:8]}" if (one.probe, one.rounding) == (other.probe, other.rounding) else name
