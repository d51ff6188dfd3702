"""`bitplan models`, `bitplan formats`, `bitplan runtimes`."""

from typing import Annotated

import typer
from rich.markup import escape

from planner.cli.reporting import AsJson, in_bytes, out, say, show_json, show_table
from planner.cli.workspace import operations
from planner.schemas.models import RegisterModel
from planner.services.pagination import PAGE_LIMIT

models = typer.Typer(no_args_is_help=True, help="Register and list models.")


@models.command("add")
def add(
    source: Annotated[
        str,
        typer.Argument(help="Directory of safetensors, GGUF file, or hub id; with --url a path is one of the service's machine."),
    ],
    name: Annotated[str | None, typer.Option(help="Name to call it by.")] = None,
    revision: Annotated[str | None, typer.Option(help="Revision of a hub id.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register a model: reads its configuration and headers, not its weights."""
    model, created = operations().register_model(RegisterModel(source=source, name=name, revision=revision))
    if as_json:
        show_json(model)
        return
    out.print(
        f"{'registered' if created else 'already registered'}: [bold]{escape(model.name)}[/] ({model.architecture}, "
        f"{model.layers} layers in {model.blocks} blocks, {model.layer_parameters:,} weights in layers, "
        f"{in_bytes(model.unquantized_bytes)} unquantized)\nid {model.id}",
        highlight=False,
    )


@models.command("list")
def list_models(as_json: AsJson = False) -> None:
    """Registered models, newest first."""
    page = operations().list_models(limit=PAGE_LIMIT)
    if as_json:
        show_json(page)
        return
    rows = [[m.name, m.architecture, str(m.layers), f"{m.parameters:,}", m.id[:12]] for m in page.items]
    show_table("models", ["name", "architecture", "layers", "parameters", "id"], rows)
    if not rows:
        say("no models yet: bitplan models add PATH")


@models.command("layers")
def layers(model: Annotated[str, typer.Argument(help="Model id or name.")], as_json: AsJson = False) -> None:
    """The quantizable layers of a model."""
    found = operations().list_layers(model)
    if as_json:
        show_json(found)
        return
    rows = [[x.name, x.kind, f"{x.out_features} × {x.in_features}", f"{x.parameters:,}"] for x in found.items]
    show_table("layers", ["name", "kind", "out × in", "weights"], rows)


@models.command("delete")
def delete(model: Annotated[str, typer.Argument(help="Model id or name.")], as_json: AsJson = False) -> None:
    """Forget a model with its cells, plans and jobs."""
    operations().delete_model(model)
    if as_json:
        show_json({"deleted": model})


def formats(
    kv_cache: Annotated[bool, typer.Option("--kv-cache", help="Formats of the KV cache instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Candidate formats and what a 4096 × 4096 matrix, or a long cache of heads of 128, takes in each."""
    bitplan = operations()
    if kv_cache:
        listed = bitplan.list_cache_formats()
        if as_json:
            show_json(listed)
        else:
            show_table(
                "formats of the KV cache", ["name", "effective bits"], [[f.name, f"{f.effective_bits:.4f}"] for f in listed.items]
            )
        return
    found = bitplan.list_formats().items
    if as_json:
        keys = {"name", "num_bits", "group_size", "symmetric", "effective_bits"}
        show_json([fmt.model_dump(mode="json", include=keys) for fmt in found])
        return
    show_table("formats", ["name", "effective bits"], [[fmt.name, f"{fmt.effective_bits:.4f}"] for fmt in found])


def runtimes(as_json: AsJson = False) -> None:
    """Engines that plans can be made for."""
    found = operations().list_runtimes().items
    if as_json:
        show_json([profile.model_dump(mode="json", include={"name", "description", "exports"}) for profile in found])
        return
    show_table("runtimes", ["name", "what it asks"], [[profile.name, profile.description] for profile in found])
