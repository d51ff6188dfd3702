"""`bitplan curves`: what is read off measured error curves."""

import statistics
import sys
from pathlib import Path
from typing import Annotated

import typer

from planner.cli import options
from planner.cli.drifting import compare_checkpoints
from planner.cli.reporting import AsJson, out, show_json, show_table, with_error
from planner.cli.workspace import operations
from planner.curve_tools.movement import DEFAULT_RATIO
from planner.errors import InvalidRequestError
from planner.schemas.curve_tools import AgreementDocument, FitsDocument, LayerFit
from planner.services.curve_fits import fits_csv
from sensitivity.formats.abstract import FormatFamily
from sensitivity.formats.families import DEFAULT_FORMATS

curves = typer.Typer(no_args_is_help=True, help="Error curves: fits, comparisons, pictures, and what moved between checkpoints.")

ModelName = Annotated[str, typer.Argument(help="Model id or name.")]
Probe = Annotated[str | None, typer.Option("--probe", "-p", help="Whose cells; by default the most trusted probe.")]
Setting = Annotated[str | None, typer.Option("--setting", help="Id of one probe setting (see `bitplan curves list`).")]
Layers = Annotated[str | None, typer.Option("--layers", help="Shell-style pattern of layer names.")]


@curves.command("list")
def list_settings(model: ModelName, as_json: AsJson = False) -> None:
    """How a model was measured so far, freshest first."""
    found = operations().list_probe_settings(model)
    if as_json:
        show_json(found)
        return
    rows = [
        [item.id, item.probe, item.rounding, str(len(item.formats)), f"{item.measured_cells}/{item.cells}"]
        for item in found.items
    ]
    show_table("probe settings", ["id", "probe", "rounding", "formats", "measured"], rows)


@curves.command("fit")
def fit(
    model: ModelName,
    probe: Probe = None,
    setting: Setting = None,
    formats: options.Formats = None,
    layers: Layers = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV and nothing else.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fit loss ≈ α·β^(−bits) to each layer, with its residual; flags curves that closed forms cannot use."""
    names = options.read_list(formats)
    found = operations().get_fits(model, probe=probe, setting=setting, formats=names, layers=layers)
    if as_json:
        show_json(found)
    elif as_csv:
        sys.stdout.write(fits_csv(found))
    else:
        _show_fits(found)


@curves.command("compare")
def compare(
    model: ModelName,
    first: Annotated[str, typer.Argument(help="A probe, also with its rounding method (fisher:gptq), or id of a setting.")],
    second: Annotated[str, typer.Argument(help="What to compare it with, likewise.")],
    formats: options.Formats = None,
    layers: Layers = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw the scatter into this PNG.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two probe settings: rank correlations and ratio of sums, format by format."""
    names = options.read_list(formats)
    found = operations().compare_settings(model, first, second, formats=names, layers=layers)
    if picture is not None:
        from planner.cli.curve_pictures import draw_comparison

        draw_comparison(found, _png(picture))
    if as_json:
        show_json(found)
        return
    rows = [_agreement(item) for item in [*found.items, found.overall]]
    title = f"{found.first.probe}, {found.first.rounding} against {found.second.probe}, {found.second.rounding}"
    show_table(title, ["format", "cells", "Spearman", "Kendall", "Σ first ÷ Σ second"], rows)
    if picture is not None:
        out.print(f"scatter {picture}", highlight=False, soft_wrap=True)


@curves.command("heatmap")
def heatmap(
    model: ModelName,
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG to write.")],
    probe: Probe = None,
    setting: Setting = None,
    formats: options.Formats = None,
    layers: Layers = None,
) -> None:
    """Draw the losses by block and layer of a block, a panel for each format, on a logarithmic scale."""
    from planner.cli.curve_pictures import draw_heat_map

    names = options.read_list(formats)
    found = operations().get_curves(model, probe=probe, setting=setting, formats=names, layers=layers)
    if not found.items:
        msg = "no cell of these layers and formats was measured: name others, or measure them first"
        raise InvalidRequestError(msg)
    out.print(f"heat map {draw_heat_map(found, _png(output))}", highlight=False, soft_wrap=True)


@curves.command("drift")
def drift(
    model: ModelName,
    reference: Annotated[str, typer.Argument(help="Model to compare with: the checkpoint that was fine-tuned.")],
    formats: options.Formats = None,
    ratio: options.ReuseRatio = DEFAULT_RATIO,
    as_json: AsJson = False,
) -> None:
    """Compare the weights of a model with those of another checkpoint: what moved, and in which formats it matters."""
    bitplan = operations()
    names = options.read_list(formats) or list(DEFAULT_FORMATS[FormatFamily.WEIGHTS])
    compare_checkpoints(bitplan, model, reference, names, quiet=as_json)
    found = bitplan.get_drift(model, reference, formats=names, ratio=ratio)
    if as_json:
        show_json(found)
        return
    rows = [
        [item.layer, _number(item.change, ".2e"), _number(item.least_rounding_error, ".2e"), " ".join(item.moved or ())]
        for item in found.items
    ]
    show_table("relative change of the weights", ["layer", "change", "least rounding error", "moved in"], rows)
    out.print(f"{found.moved_layers} of {len(found.items)} layers moved", highlight=False)


def _png(path: Path) -> Path:
    """The path, if a PNG can be written there.

    Raises:
        InvalidRequestError: another suffix, or a folder that is not there.
    """
    if path.suffix.lower() != ".png" or not path.parent.is_dir():
        msg = f"{path}: give a file that ends in .png, in a folder that exists"
        raise InvalidRequestError(msg)
    return path


def _show_fits(found: FitsDocument) -> None:
    rows = [
        [
            item.layer,
            _number(item.log_alpha, ".3f"),
            _number(item.beta, ".3f"),
            _number(item.residual, ".3f"),
            _number(item.r_squared, ".4f"),
            str(item.points),
            " ".join(item.flags),
        ]
        for item in found.items
    ]
    title = f"loss ≈ α·β^(−bits): {found.setting.probe}, rounding {found.setting.rounding}, {found.unit}"
    show_table(title, ["layer", "ln α", "β", "residual", "R²", "points", "flags"], rows)
    out.print(_summary(found.items, found.pooled_beta), highlight=False)


def _summary(items: list[LayerFit], pooled: float | None) -> str:
    betas = [item.beta for item in items if item.beta is not None]
    flagged = sum(bool(item.flags) for item in items)
    if not betas or pooled is None:
        return f"no layer has a curve; {flagged} of {len(items)} layers are flagged"
    return (
        f"β {statistics.median(betas):.3f} in the median ({min(betas):.3f} to {max(betas):.3f}), {pooled:.3f} for all layers "
        f"together; {flagged} of {len(items)} layers are flagged"
    )


def _agreement(item: AgreementDocument) -> list[str]:
    ratio = "" if item.ratio is None else with_error(item.ratio, item.ratio_error)
    return [item.format or "all", str(item.cells), _number(item.spearman, ".3f"), _number(item.kendall, ".3f"), ratio]


def _number(value: float | None, spec: str) -> str:
    return "" if value is None else format(value, spec)
