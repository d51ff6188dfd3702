"""`bitplan models`, `bitplan formats`, `bitplan runtimes`."""

from typing import Annotated

import typer

from planner.cli.reporting import AsJson, in_bytes, out, say, show_json, show_table
from planner.cli.workspace import open_database
from planner.runtimes import RUNTIMES
from planner.services import models as service
from planner.services.catalogue import list_cache_formats
from sensitivity.formats.registry import all_formats

models = typer.Typer(no_args_is_help=True, help="Register and list models.")


@models.command("add")
def add(
    source: Annotated[str, typer.Argument(help="Directory of safetensors, GGUF file, or hub id.")],
    name: Annotated[str | None, typer.Option(help="Name to call it by.")] = None,
    revision: Annotated[str | None, typer.Option(help="Revision of a hub id.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register a model: reads its configuration and headers, not its weights."""
    description = service.inspect(source, revision=revision)
    with open_database().session() as session:
        model, created = service.register(session, description, name=name)
    if as_json:
        show_json(model)
        return
    out.print(
        f"{'registered' if created else 'already registered'}: [bold]{model.name}[/] ({model.architecture}, {model.layers} "
        f"layers in {model.blocks} blocks, {model.layer_parameters:,} weights in layers, "
        f"{in_bytes(model.unquantized_bytes)} unquantized)\nid {model.id}",
        highlight=False,
    )


@models.command("list")
def list_models(as_json: AsJson = False) -> None:
    """Registered models, newest first."""
    with open_database().read_session() as session:
        page = service.list_models(session, limit=200)
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
    with open_database().read_session() as session:
        found = service.list_layers(session, model)
    if as_json:
        show_json(found)
        return
    rows = [[x.name, x.kind, f"{x.out_features} × {x.in_features}", f"{x.parameters:,}"] for x in found.items]
    show_table("layers", ["name", "kind", "out × in", "weights"], rows)


@models.command("delete")
def delete(model: Annotated[str, typer.Argument(help="Model id or name.")], as_json: AsJson = False) -> None:
    """Forget a model with its cells, plans and jobs."""
    with open_database().session() as session:
        service.delete_model(session, model)
    if as_json:
        show_json({"deleted": model})


def formats(
    kv_cache: Annotated[bool, typer.Option("--kv-cache", help="Formats of the KV cache instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Candidate formats and what a 4096 × 4096 matrix, or a long cache of heads of 128, takes in each."""
    if kv_cache:
        listed = list_cache_formats()
        if as_json:
            show_json(listed)
        else:
            show_table(
                "formats of the KV cache", ["name", "effective bits"], [[f.name, f"{f.effective_bits:.4f}"] for f in listed.items]
            )
        return
    found = all_formats()
    shape = (4096, 4096)
    bits = {fmt.name: fmt.size_bits(shape) / shape[0] / shape[1] for fmt in found}
    if as_json:
        keys = ("name", "num_bits", "group_size", "symmetric")
        show_json([{key: getattr(fmt, key) for key in keys} | {"effective_bits": bits[fmt.name]} for fmt in found])
        return
    show_table("formats", ["name", "effective bits"], [[fmt.name, f"{bits[fmt.name]:.4f}"] for fmt in found])


def runtimes(as_json: AsJson = False) -> None:
    """Engines that plans can be made for."""
    if as_json:
        keys = ("name", "description", "exports")
        show_json([{key: getattr(profile, key) for key in keys} for profile in RUNTIMES.values()])
        return
    show_table("runtimes", ["name", "what it asks"], [[p.name, p.description] for p in RUNTIMES.values()])
