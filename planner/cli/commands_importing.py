"""`bitplan import`: what other tools measured or decided."""

from pathlib import Path
from typing import Annotated

import typer

from planner.cli import options
from planner.cli.commands_measuring import DEFAULT_FORMATS, Rounding
from planner.cli.reporting import AsJson, out, show_json
from planner.cli.workspace import operations
from planner.importers import IMPORTERS
from planner.importers.port import OptionValue
from planner.schemas.imports import ImportDocument

_OPTIONS = "; ".join(
    f"{importer.name}: {', '.join(f'{name}={value}' for name, value in importer.options.items())}"
    for importer in IMPORTERS.values()
    if importer.options
)


def import_files(
    files: Annotated[list[Path], typer.Argument(help="What the tool wrote; of auto-round a file for each scheme of a run.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Model id or name.")],
    tool: Annotated[
        str | None, typer.Option("--as", help=f"One of {', '.join(IMPORTERS)}; by default what the files look like.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help=f"NAME=VALUE, what the files do not say; by default {_OPTIONS}.")
    ] = None,
    formats: Annotated[
        str, typer.Option("--formats", "-f", help="Of an importance matrix: formats to make output errors for.")
    ] = DEFAULT_FORMATS,
    rounding: Rounding = "rtn",
    as_json: AsJson = False,
) -> None:
    """Import another tool's measurements as cells, or its decision as a plan: all of the files, or nothing."""
    given = {name: _value(text) for name, text in options.read_pairs(option, "option").items()}
    names = options.read_list(formats) or []
    document = operations().add_imports(model, files, tool=tool, options=given, formats=names, rounding=rounding)
    if as_json:
        show_json(document)
    else:
        _show(document)


def _value(text: str) -> OptionValue:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else text


def _show(document: ImportDocument) -> None:
    if document.plan is not None:
        out.print(f"plan {document.plan} of {document.layers} layers, from {document.tool}", highlight=False, soft_wrap=True)
    else:
        out.print(
            f"{document.cells} cells of {document.layers} layers in {len(document.formats)} formats, from {document.tool}: "
            f"plan with --probe {document.probe}\nsetting {document.setting}",
            highlight=False,
            soft_wrap=True,
        )
    if document.skipped:
        out.print(f"no layers here: {', '.join(document.skipped[:10])}", highlight=False, soft_wrap=True)
    for note in document.notes:
        out.print(f"note: {note}", highlight=False, soft_wrap=True)
