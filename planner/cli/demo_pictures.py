"""The picture of the demo that no other command draws: the frontier, with what was measured."""

from collections.abc import Sequence
from pathlib import Path

from planner.schemas.frontiers import FrontierDocument
from planner.schemas.plans import Evaluation


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
