"""`bitplan split`: one model over two devices with a link between them."""

from collections import Counter
from typing import Annotated

import typer

from planner.cli import options
from planner.cli.reporting import AsJson, in_bytes, out, show_json, show_table, with_error
from planner.cli.workspace import operations
from planner.schemas.splits import SplitDocument, SplitLink, SplitPart, SplitRequest, SplitRow, SplitSide


def split(
    model: Annotated[str, typer.Argument(help="Id or name of a measured model.")],
    front: Annotated[str, typer.Option("--front", help="Device of the embedding and the first blocks.")],
    back: Annotated[str, typer.Option("--back", help="Device of the last blocks and the head.")],
    front_memory: Annotated[str, typer.Option("--front-memory", help="Bytes that the front may take: 2GB, 512MiB.")],
    back_memory: Annotated[str, typer.Option("--back-memory", help="Bytes that the back may take.")],
    link_bandwidth: Annotated[str, typer.Option("--link-bandwidth", help="Bytes a second between them: 100MB, 1GB.")],
    link_ms: Annotated[
        str, typer.Option("--link-ms", help="Milliseconds of latency a token: activations there, the sampled token back.")
    ] = "0",
    decode_ms: Annotated[
        str | None, typer.Option("--decode-ms", help="Most milliseconds to decode a token of each sequence, link included.")
    ] = None,
    context: options.Context = 0,
    batch: options.Batch = 1,
    front_workspace: Annotated[str, typer.Option("--front-workspace", help="Bytes of the front left free.")] = "0",
    back_workspace: Annotated[str, typer.Option("--back-workspace", help="Bytes of the back left free.")] = "0",
    front_runtime: Annotated[str, typer.Option("--front-runtime", help="Engine of the front.")] = "generic",
    back_runtime: Annotated[str, typer.Option("--back-runtime", help="Engine of the back.")] = "generic",
    formats: options.Formats = None,
    front_formats: Annotated[str | None, typer.Option("--front-formats", help="Candidate formats of the front alone.")] = None,
    back_formats: Annotated[str | None, typer.Option("--back-formats", help="Candidate formats of the back alone.")] = None,
    probe: Annotated[str | None, typer.Option(help="Whose curves to plan with.")] = None,
    rounding: options.Rounding = None,
    shrinkage: options.Shrinkage = True,
    ignore: options.Ignore = None,
    pin: options.Pins = None,
    floor: options.Floors = None,
    ceiling: options.Ceilings = None,
    menu: options.Menus = None,
    experts: options.Experts = "free",
    as_json: AsJson = False,
) -> None:
    """Cut a model between two devices: the best split point and the formats of both sides, proven over all splits."""
    request = SplitRequest(
        model=model,
        front=_side(front, front_memory, front_workspace, front_runtime, front_formats),
        back=_side(back, back_memory, back_workspace, back_runtime, back_formats),
        link=SplitLink(
            bytes_per_second=options.read_bytes(link_bandwidth), latency_seconds=options.read_milliseconds("--link-ms", link_ms)
        ),
        decode_seconds=None if decode_ms is None else options.read_milliseconds("--decode-ms", decode_ms),
        context=context,
        batch=batch,
        formats=options.read_list(formats),
        probe=probe,
        rounding=rounding,
        shrinkage=shrinkage,
        ignore=ignore,
        pins=options.read_pairs(pin, "pin"),
        floors=options.read_bits(floor, "floor"),
        ceilings=options.read_bits(ceiling, "ceiling"),
        menus=options.read_menus(menu),
        experts=options.read_experts(experts),
    )
    found = operations().make_split(request)
    if as_json:
        show_json(found)
    else:
        _show(found)


def _side(device: str, memory: str, workspace: str, runtime: str, formats: str | None) -> SplitSide:
    return SplitSide(
        device=device,
        memory_bytes=options.read_bytes(memory),
        workspace_bytes=options.read_bytes(workspace),
        runtime=runtime,
        formats=options.read_list(formats),
    )


def _show(found: SplitDocument) -> None:
    best, proof = found.best, found.proof
    kept = "optimal over all splits" if proof.status == "optimal" else f"gap {proof.gap or 0.0:.1e}, the deadline came first"
    loss = with_error(best.predicted_loss, best.standard_error)
    out.print(
        f"{found.model_name}: {best.split} of {found.blocks} blocks on {best.front.device}, {best.back.blocks} on "
        f"{best.back.device}; predicted loss {loss} {found.unit}; {kept}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    limit = "" if found.decode_seconds is None else f" of {found.decode_seconds * 1e3:.6g}"
    out.print(
        f"a token takes {best.seconds * 1e3:.6g}{limit} ms, {best.link_seconds * 1e3:.4g} of them on the link", highlight=False
    )
    show_table("both sides", ["", "front", "back"], _sides(best.front, best.back))
    show_table("all splits", ["split", "loss", "front", "back", "ms", "status"], [_row(row) for row in found.splits])
    for row in found.splits:
        if row.status == "infeasible":
            out.print(f"{row.split}: {row.reason}", markup=False, highlight=False, soft_wrap=True)
    for note in found.notes:
        out.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)


def _sides(front: SplitPart, back: SplitPart) -> list[list[str]]:
    sides = (front, back)
    counts = [Counter(part.assignment.values()) for part in sides]
    facts = [
        ["device", *(part.device for part in sides)],
        ["runtime", *(part.runtime for part in sides)],
        ["blocks", *(str(part.blocks) for part in sides)],
        ["effective bits", *(f"{part.effective_bits:.3f}" for part in sides)],
        ["layers", *(in_bytes(-(-part.layer_bits // 8)) for part in sides)],
        ["unquantized", *(in_bytes(part.unquantized_bytes) for part in sides)],
        ["KV cache", *(in_bytes(part.kv_bytes) for part in sides)],
        ["together", *(in_bytes(part.used_bytes) for part in sides)],
        ["memory", *(in_bytes(part.memory_bytes) for part in sides)],
        ["ms of a token", *(f"{part.seconds * 1e3:.4g}" for part in sides)],
    ]
    return facts + [[name, *(str(count[name]) for count in counts)] for name in sorted(counts[0] | counts[1])]


def _row(row: SplitRow) -> list[str]:
    """What was not solved shows its bound, and the least that it takes."""
    solved = row.predicted_loss is not None
    least = "" if solved else "≥ "
    loss = row.predicted_loss if solved else row.lower_bound
    return [
        str(row.split),
        "" if loss is None else f"{least}{loss:.4g}",
        f"{least}{in_bytes(row.front_bytes)}",
        f"{least}{in_bytes(row.back_bytes)}",
        f"{least}{row.seconds * 1e3:.4g}",
        row.status,
    ]
