"""The two pictures of the demo: sensitivity heat map and frontier."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from planner.schemas.curves import CurvesDocument
from planner.schemas.frontiers import FrontierDocument
from planner.schemas.plans import Evaluation


def draw_heat_map(curves: CurvesDocument, path: Path) -> Path:
    """Loss of each layer (block × kind) on a log scale, one panel a format."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    formats = list(dict.fromkeys(cell.format for cell in curves.items))
    kinds = list(dict.fromkeys(cell.kind for cell in curves.items))
    blocks = 1 + max((cell.block for cell in curves.items if cell.block is not None), default=0)
    table = np.full((len(formats), len(kinds), blocks), np.nan)
    for cell in curves.items:
        if cell.block is not None and cell.loss is not None:
            table[formats.index(cell.format), kinds.index(cell.kind), cell.block] = cell.loss
    positive = table[np.isfinite(table) & (table > 0)]
    norm = LogNorm(vmin=float(positive.min()), vmax=float(positive.max())) if positive.size else None
    figure = Figure(figsize=(11, 1.1 + 1.5 * len(formats)), layout="constrained")
    axes = figure.subplots(len(formats), 1, squeeze=False, sharex=True)[:, 0]
    image = None
    for axis, name, panel in zip(axes, formats, table, strict=True):
        image = axis.imshow(panel, aspect="auto", norm=norm, cmap=colormaps["cividis"])
        axis.set_yticks(range(len(kinds)), kinds, fontsize=7)
        axis.set_title(name, loc="left", fontsize=9)
    axes[-1].set_xlabel("block")
    if image is not None:
        figure.colorbar(image, ax=list(axes), label=f"loss ({curves.unit})")
    figure.suptitle(f"Sensitivity by layer and format ({curves.setting.probe})", fontsize=11)
    figure.savefig(path, dpi=110)
    return path


def draw_frontier(frontier: FrontierDocument, measured: Sequence[Sequence[Evaluation]], path: Path) -> Path:
    """Predicted loss over effective bits, with the measured plans and uniform assignments as points."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    points = [point for point in frontier.points if point.predicted_loss > 0]
    axis.plot(
        [point.effective_bits for point in points],
        [point.predicted_loss for point in points],
        "-",
        color="#33567f",
        label="frontier, predicted",
    )
    for marker, color, label, chosen in (("o", "#33567f", "plan, measured", True), ("s", "#c96a1b", "uniform, measured", False)):
        items = [item for group in measured for item in group if (item.label == "plan") is chosen]
        axis.errorbar(
            [item.effective_bits for item in items],
            [item.kl.value for item in items],
            yerr=[item.kl.standard_error or 0.0 for item in items],
            fmt=marker,
            color=color,
            capsize=3,
            label=label,
        )
    axis.set_yscale("log")
    axis.set_xlabel("effective bits per planned weight")
    axis.set_ylabel("KL divergence (nats per token)")
    axis.set_title("Every point of the line is a plan that no other plan of its size beats on these curves")
    axis.grid(visible=True, which="both", alpha=0.25)
    axis.legend()
    figure.savefig(path, dpi=110)
    return path
