"""`bitplan family`: which of several models under one byte budget."""

from typing import Annotated

import typer

from planner.cli import options
from planner.cli.reporting import AsJson, in_bytes, out, show_json, show_table, with_error
from planner.cli.workspace import operations
from planner.schemas.families import FamilyDocument, FamilyRequest


def family(
    models: Annotated[list[str], typer.Argument(help="Ids or names of models that were measured and evaluated on one text.")],
    points: Annotated[int, typer.Option(min=2, max=500, help="Budgets, evenly spaced over all models' plans.")] = 20,
    file: Annotated[bool, typer.Option("--file", help="Limit the bytes of the file, not those in memory.")] = False,
    context: options.Context = 0,
    batch: options.Batch = 1,
    workspace: options.Workspace = "0",
    formats: options.Formats = None,
    runtime: options.Runtime = "generic",
    probe: Annotated[str | None, typer.Option(help="Whose curves to plan with.")] = None,
    rounding: options.Rounding = None,
    shrinkage: options.Shrinkage = True,
    ignore: options.Ignore = None,
    pin: options.Pins = None,
    floor: options.Floors = None,
    ceiling: options.Ceilings = None,
    menu: options.Menus = None,
    experts: options.Experts = "free",
    text: Annotated[
        str | None, typer.Option(help="Calibration set that all were evaluated on; by default the last in common.")
    ] = None,
    same_tokenizer: Annotated[
        bool, typer.Option("--same-tokenizer", help="Vocabularies of different sizes cut text alike all the same.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Choose among models: each one's frontier, the best one at every budget, and from which byte on it is another."""
    request = FamilyRequest(
        models=models,
        limit="file_bytes" if file else "resident_bytes",
        context=context,
        batch=batch,
        workspace_bytes=options.read_bytes(workspace),
        points=points,
        formats=options.read_list(formats),
        runtime=runtime,
        probe=probe,
        rounding=rounding,
        shrinkage=shrinkage,
        ignore=ignore,
        pins=options.read_pairs(pin, "pin"),
        floors=options.read_bits(floor, "floor"),
        ceilings=options.read_bits(ceiling, "ceiling"),
        menus=options.read_menus(menu),
        experts=options.read_experts(experts),
        text=text,
        same_tokenizer=same_tokenizer,
    )
    found = operations().make_family(request)
    if as_json:
        show_json(found)
    else:
        _show(found)


def _show(found: FamilyDocument) -> None:
    rows = [
        [
            model.model_name,
            f"{model.parameters:,}",
            in_bytes(model.smallest_bytes),
            with_error(model.reference_nll, model.reference_nll_error),
            model.probe,
        ]
        for model in found.models
    ]
    show_table("models", ["model", "parameters", "smallest plan", "reference NLL", "curves"], rows)
    best = [
        [
            in_bytes(point.budget_bytes),
            found.models[point.model].model_name,
            f"{point.effective_bits:.3f}",
            f"{point.predicted_loss:.4g}",
            f"{point.predicted_nll:.4f}",
        ]
        for point in found.envelope
    ]
    limit = found.limit.replace("_", " ")
    show_table(f"best model under each budget of {limit}", ["budget", "model", "bits", "predicted KL", "predicted NLL"], best)
    for line in (*(crossing.advice for crossing in found.crossings), *(f"note: {note}" for note in found.notes)):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
