"""`bitplan plans explain` and `bitplan plans retarget`."""

from typing import Annotated

import typer

from planner.cli import options
from planner.cli.differences import show_diff
from planner.cli.reporting import AsJson, in_bytes, out, show_json, show_table, with_error
from planner.cli.workspace import operations
from planner.errors import InvalidRequestError
from planner.schemas.explanations import ExplainedGroup, ExplainedLayer, Flip, Neighbour, PlanExplanation
from planner.schemas.retargeting import Retargeted, RetargetRequest

PlanId = Annotated[str, typer.Argument(help="Plan id.")]


def explain(
    plan: PlanId,
    layers: Annotated[str, typer.Argument(help="Which layers, by pattern: '*.down_proj', 'model.layers.0.*'.")] = "*",
    most: Annotated[int, typer.Option("--layers", min=1, max=5000, help="So many of them, the first in model order.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Why each layer has its format: its next formats and their prices, what would flip it, what closes formats to it."""
    found = operations().explain_plan(plan, layer=layers, limit=most)
    if as_json:
        show_json(found)
    elif len(found.groups) == 1 and found.matched == len(found.layers):
        _show_group(found, found.groups[0])
    else:
        _show_layers(found)


def retarget(
    plan: PlanId,
    runtime: Annotated[
        str, typer.Option("--runtime", "-r", help="Engine that will serve the new plan (see `bitplan runtimes`).")
    ],
    bits: options.Bits = None,
    file: options.File = None,
    memory: options.Memory = None,
    decode_ms: options.DecodeMs = None,
    prefill_ms: options.PrefillMs = None,
    device: options.Device = None,
    context: options.Context = 0,
    batch: options.Batch = 1,
    workspace: options.Workspace = "0",
    formats: options.Formats = None,
    most: Annotated[int, typer.Option("--layers", min=0, help="So many of the changes, those of the most bits first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The same curves, budget and rules for another runtime: a new plan, what changed, why, and what it cost."""
    given = {"--bits": bits, "--file": file, "--memory": memory, "--decode-ms": decode_ms, "--prefill-ms": prefill_ms}
    budget = None
    if any(text is not None for text in given.values()):
        budget, *others = options.read_budgets(given, device=device, context=context, batch=batch, workspace=workspace)
        if others:
            msg = "retarget makes one plan: give one value of each limit"
            raise InvalidRequestError(msg)
    request = RetargetRequest(runtime=runtime, budget=budget, formats=options.read_list(formats))
    found = operations().retarget_plan(plan, request)
    if as_json:
        show_json(found)
    else:
        _show_retargeted(found, most)


def _show_retargeted(found: Retargeted, most: int) -> None:
    show_diff(found.diff.model_copy(update={"notes": []}), most)
    unit = found.plan.predicted.unit
    if found.causes:
        rows = [
            [one.cause, str(one.layers), f"{one.bits_change:+,}", "" if one.loss_change is None else f"{one.loss_change:+.3g}"]
            for one in found.causes
        ]
        show_table("why", ["cause", "layers", "bits", f"loss ({unit})"], rows)
    first = {reason.cause: reason for reason in reversed(found.reasons)}
    for total in found.causes:
        _say(f"{total.cause}: {first[total.cause].reason}")
    if found.repacked_bits:
        _say(f"layers that keep their format take {found.repacked_bits:+,} bits by the packing of {found.plan.runtime}")
    proof = found.plan.proof
    _say(f"plan {found.plan.id} for {found.plan.runtime}: {proof.status}, gap {proof.gap:.2g} ({found.gap_change:+.2g})")
    for note in found.notes:
        _say(f"note: {note}")


def _show_layers(found: PlanExplanation) -> None:
    rows = [_row(layer, found.groups[layer.group]) for layer in found.layers]
    shown = f"{len(found.layers)} of {found.matched} layers" if found.matched > len(found.layers) else f"{found.matched} layers"
    title = f"plan {found.plan} of {found.model_name} for {found.runtime}: {shown}"
    columns = ["layer", "format", "loss", "up pays", "down costs", "errors"]
    show_table(title, columns, rows)
    _say(
        f"one more MB buys {found.price_per_megabyte:.3g} {found.unit}; 'up' and 'down' are in times of that, each MB of the step"
    )
    _show_end(found)


def _row(layer: ExplainedLayer, group: ExplainedGroup) -> list[str]:
    return [
        f"{layer.layer.removeprefix('model.layers.')}{f' +{len(group.layers) - 1}' if len(group.layers) > 1 else ''}",
        layer.format,
        f"{group.predicted_loss:.3g}",
        _times(group.next_up),
        _times(group.next_down),
        _errors(group.flip),
    ]


def _errors(flip: Flip | None) -> str:
    if flip is None:
        return "held"
    return "" if flip.standard_errors is None else f"{flip.standard_errors:.1f}"


def _times(neighbour: Neighbour | None) -> str:
    """The neighbour's price in times of the plan's."""
    if neighbour is None:
        return "·"
    return f"{neighbour.price_per_megabyte:.2g}" if neighbour.of_plan_price is None else f"{neighbour.of_plan_price:.2g}×"


def _show_group(found: PlanExplanation, group: ExplainedGroup) -> None:
    out.print(f"plan {found.plan} of {found.model_name} for {found.runtime}", markup=False, highlight=False)
    for name in group.layers:
        _say(f"  {name}")
    for reason in group.tied_by:
        _say(f"tied: {reason}")
    allowed = [
        [
            f"{option.format}{' ← chosen' if option.chosen else ''}",
            in_bytes(-(-option.size_bits // 8)),
            "" if option.predicted_loss is None else with_error(option.predicted_loss, option.standard_error),
            "" if option.margin is None else f"{option.margin:+.3g}",
        ]
        for option in group.options
        if option.size_bits is not None
    ]
    show_table("", ["format", "size", f"loss ({found.unit})", "worse by"], allowed)
    for option in group.options:
        if option.refusals:
            _say(f"{option.format} is closed: {'; '.join(option.refusals)}")
    if group.flip is not None:
        _say(group.flip.advice)
    _show_end(found)


def _show_end(found: PlanExplanation) -> None:
    for price in found.prices:
        _say(f"price of {price.limit}: {price.price:.3g} {found.unit} a whole unit")
    for name, needs in found.kernels.items():
        _say(f"{name} needs {needs}")
    for note in found.notes:
        _say(f"note: {note}")


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
