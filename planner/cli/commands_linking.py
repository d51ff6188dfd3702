"""`bitplan link`."""

import math
from typing import Annotated

import typer

from planner.cli import options
from planner.cli.reporting import AsJson, out, show_json, show_table
from planner.cli.workspace import operations
from planner.schemas.links import HeldOutFigures, LinkDocument, LinkFigures, LinkRequest


def link(
    model: Annotated[str, typer.Argument(help="Model id or name.")],
    source: Annotated[str, typer.Option("--from", help="The cheap probe, measured for all cells.")] = "fisher",
    target: Annotated[str, typer.Option("--to", help="The exact probe, measured for some cells.")] = "kl",
    source_setting: Annotated[str | None, typer.Option(help="Id of one setting of the cheap probe.")] = None,
    target_setting: Annotated[str | None, typer.Option(help="Id of one setting of the exact probe.")] = None,
    rounding: options.Rounding = None,
    seed: Annotated[int, typer.Option(help="Seed of the cross-validation.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a monotone map from a cheap probe to exact cells; the linked curves are a probe of their own, which plans prefer."""
    request = LinkRequest(
        source=source,
        target=target,
        source_setting=source_setting,
        target_setting=target_setting,
        rounding=rounding,
        seed=seed,
    )
    document = operations().create_link(model, request)
    if as_json:
        show_json(document)
    else:
        show_link(document)


def show_link(document: LinkDocument) -> None:
    """A link for people: its shape, its quality, and what it made."""
    figures = document.link
    rows = [
        ["shape", shape_of(figures)],
        ["cells", f"{document.exact_cells} exact, {document.linked_cells} linked, fitted on {figures.pairs}"],
        ["R² of the fit", f"{figures.r2:.3f}"],
        ["rank correlation", f"Spearman {_ranks(figures.spearman)}, Kendall {_ranks(figures.kendall)}"],
        ["residual", f"factor {math.exp(figures.residual_deviation):.2f} (one standard deviation)"],
        ["held out", _held_out(figures.held_out)],
        *([["held out, as it was", _held_out(figures.identity)]] if figures.identity is not None else []),
    ]
    out.print(f"[bold]{document.probe}[/] {document.setting}", highlight=False)
    show_table("", ["what", "value"], rows)
    for note in document.notes:
        out.print(f"note: {note}", highlight=False)


def shape_of(figures: LinkFigures) -> str:
    """``power_by_format, exponent 1.08``, with the factors of the formats where they have some."""
    offsets = ", ".join(f"{name} {offset:+.2f}" for name, offset in figures.offsets.items())
    return f"{figures.family}, exponent {figures.slope:.3g}{f' (ln: {offsets})' if offsets else ''}"


def _held_out(figures: HeldOutFigures) -> str:
    return f"R² {figures.r2:.3f}, median error {figures.median_error:.0%}, 90 % below {figures.p90_error:.0%}"


def _ranks(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
