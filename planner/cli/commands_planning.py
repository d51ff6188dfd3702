"""`bitplan bounds`, `plan`, `plans`, `frontier`, `export`, `evaluate`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from planner.budget import BudgetKind
from planner.cli import options
from planner.cli.following import follow
from planner.cli.measured_smallest import plan_by_measuring
from planner.cli.memory_lines import say_peak
from planner.cli.plan_batches import make_all, read_questions, show_all
from planner.cli.rendering import show_evaluations, show_frontier, show_plan
from planner.cli.reporting import AsJson, in_bytes, out, say, show_json, show_table
from planner.cli.workspace import open_database, operations
from planner.errors import ExportError, InvalidRequestError
from planner.exports.target import file_text
from planner.schemas.frontiers import FrontierRequest
from planner.schemas.plan_keeping import PlanFilters
from planner.schemas.plans import BoundsRequest, EvaluateRequest, PlanRequest
from planner.services.pagination import PAGE_LIMIT
from sensitivity.new_directory import require_new

plans = typer.Typer(no_args_is_help=True, help="Stored plans.")
ModelName = Annotated[str, typer.Argument(help="Model id or name.")]
PlanId = Annotated[str, typer.Argument(help="Plan id.")]


def bounds(
    model: ModelName,
    formats: Annotated[str, typer.Option("--formats", "-f", help="Candidate formats, comma-separated.")],
    runtime: options.Runtime = "generic",
    ignore: options.Ignore = None,
    experts: options.Experts = "free",
    context: options.Context = 0,
    batch: options.Batch = 1,
    as_json: AsJson = False,
) -> None:
    """Smallest and largest plan, before anything is measured."""
    request = BoundsRequest(
        formats=options.read_list(formats) or [],
        runtime=runtime,
        ignore=ignore,
        experts=options.read_experts(experts),
        context=context,
        batch=batch,
    )
    found = operations().ask_bounds(model, request)
    if as_json:
        show_json(found)
        return
    rows = [
        [label, f"{size.effective_bits:.4f}", in_bytes(size.file_bytes), in_bytes(size.resident_bytes)]
        for label, size in (("smallest", found.smallest), ("largest", found.largest))
    ]
    show_table(f"{found.layers} layers, {found.groups} groups", ["plan", "effective bits", "file", "resident"], rows)


def plan(
    model: ModelName,
    bits: options.Bits = None,
    batch_file: Annotated[
        Path | None,
        typer.Option(
            "--batch-file",
            help="Plan every question of this file, a JSON object a line as POST /v1/plans takes it; what a line leaves out is "
            "what the options say.",
        ),
    ] = None,
    file: options.File = None,
    memory: options.Memory = None,
    decode_ms: options.DecodeMs = None,
    prefill_ms: options.PrefillMs = None,
    bit_operations: options.BitOperations = None,
    max_loss: options.MaxLoss = None,
    measured: options.MeasuredLoss = False,
    pool: options.Pools = None,
    device: options.Device = None,
    context: options.Context = 0,
    batch: options.Batch = 1,
    workspace: options.Workspace = "0",
    kv: options.KV = None,
    formats: options.Formats = None,
    runtime: options.Runtime = "generic",
    probe: Annotated[str | None, typer.Option(help="Whose curves to plan with.")] = None,
    setting: options.Setting = None,
    kv_setting: options.KVSetting = None,
    rounding: options.Rounding = None,
    shrinkage: options.Shrinkage = True,
    ignore: options.Ignore = None,
    pin: options.Pins = None,
    floor: options.Floors = None,
    ceiling: options.Ceilings = None,
    menu: options.Menus = None,
    experts: options.Experts = "free",
    count: options.Counts = None,
    caution: options.Caution = 0.0,
    alternatives: Annotated[int, typer.Option(help="How many next-best plans to summarise beside it.")] = 0,
    alternative_layers: Annotated[
        int | None, typer.Option(help="In how many layers they differ from it and each other; by default a tenth.")
    ] = None,
    allow_slack: Annotated[bool, typer.Option(help="Accept a budget above the largest plan.")] = False,
    as_json: AsJson = False,
) -> None:
    """Plan now, from stored curves: under one limit or several together, or for several budgets, or a file of questions."""
    question: dict[str, Any] = {
        "model": model,
        "formats": options.read_list(formats),
        "kv_formats": options.read_list(kv),
        "runtime": runtime,
        "kv_setting": kv_setting,
        "probe": probe,
        "setting": setting,
        "rounding": rounding,
        "shrinkage": shrinkage,
        "ignore": ignore,
        "pins": options.read_pairs(pin, "pin"),
        "floors": options.read_bits(floor, "floor"),
        "ceilings": options.read_bits(ceiling, "ceiling"),
        "menus": options.read_menus(menu),
        "experts": options.read_experts(experts),
        "counts": options.read_counts(count),
        "caution": caution,
        "alternatives": alternatives,
        "alternative_layers": alternative_layers,
        "allow_slack": allow_slack,
    }
    given = (bits, file, memory, decode_ms, prefill_ms, bit_operations, max_loss)
    asked = dict(zip(options.LIMITS, given, strict=True))
    if batch_file is not None:
        if any(text is not None for text in given) or (pool, device, context, batch, workspace) != (None, None, 0, 1, "0"):
            others = "--pool, --device, --context, --batch, --workspace"
            msg = f"--batch-file has budgets of its own: leave out {', '.join(options.LIMITS)}, {others}"
            raise InvalidRequestError(msg)
        requests = read_questions(batch_file, question)
    else:
        budgets = options.read_budgets(asked, device=device, context=context, batch=batch, workspace=workspace, pools=pool)
        requests = [PlanRequest.model_validate(question | {"budget": budget}) for budget in budgets]
    several = batch_file is not None or len(requests) > 1
    if measured and several:
        msg = "--measured answers one --max-loss: ask for several one after the other, and without --batch-file"
        raise InvalidRequestError(msg)
    if several:
        show_all(requests, make_all(operations(), requests), as_json=as_json)
        return
    if measured:
        plan_by_measuring(operations(), requests[0], as_json=as_json)
        return
    document = operations().create_plan(requests[0])
    if as_json:
        show_json(document)
    else:
        show_plan(document)


def frontier(
    model: ModelName,
    points: Annotated[int, typer.Option(help="Budgets, evenly spaced from the smallest to the largest plan.")] = 20,
    proven: Annotated[bool, typer.Option("--proven", help="Solve every budget to its proven optimum.")] = False,
    context: options.Context = 0,
    batch: options.Batch = 1,
    workspace: options.Workspace = "0",
    kv: options.KV = None,
    formats: options.Formats = None,
    runtime: options.Runtime = "generic",
    probe: Annotated[str | None, typer.Option(help="Whose curves to plan with.")] = None,
    setting: options.Setting = None,
    kv_setting: options.KVSetting = None,
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
    """Every budget at once: size against predicted loss, with the bound and the price at each."""
    request = FrontierRequest(
        model=model,
        points=points,
        proven=proven,
        context=context,
        batch=batch,
        workspace_bytes=options.read_bytes(workspace),
        kv_formats=options.read_list(kv),
        kv_setting=kv_setting,
        formats=options.read_list(formats),
        runtime=runtime,
        probe=probe,
        setting=setting,
        rounding=rounding,
        shrinkage=shrinkage,
        ignore=ignore,
        pins=options.read_pairs(pin, "pin"),
        floors=options.read_bits(floor, "floor"),
        ceilings=options.read_bits(ceiling, "ceiling"),
        menus=options.read_menus(menu),
        experts=options.read_experts(experts),
    )
    document = operations().make_frontier(request)
    if as_json:
        show_json(document)
    else:
        show_frontier(document)


@plans.command("list")
def list_plans(
    model: Annotated[str | None, typer.Option(help="Only plans of this model.")] = None,
    runtime: Annotated[str | None, typer.Option("--runtime", "-r", help="Only plans for this runtime.")] = None,
    probe: Annotated[str | None, typer.Option(help="Only plans made with curves of this probe.")] = None,
    budget_kind: Annotated[
        BudgetKind | None, typer.Option("--budget-kind", help="Only plans whose budget limits this.", show_choices=True)
    ] = None,
    budget_min: Annotated[str | None, typer.Option(help="Least budget of that kind: 4.25, 20GB.")] = None,
    budget_max: Annotated[str | None, typer.Option(help="Greatest budget of that kind.")] = None,
    since: Annotated[str | None, typer.Option(help="Made then or later: 2026-11-28, 2026-11-28T09:30.")] = None,
    until: Annotated[str | None, typer.Option(help="Made before.")] = None,
    name: Annotated[str | None, typer.Option(help="Only plans that bear this name now.")] = None,
    pinned: Annotated[bool | None, typer.Option("--pinned/--not-pinned", help="Only plans that are pinned, or are not.")] = None,
    as_json: AsJson = False,
) -> None:
    """Stored plans, newest first: those that all given options say."""
    filters = PlanFilters(
        model=model,
        runtime=runtime,
        probe=probe,
        budget_kind=budget_kind,
        budget_min=options.read_number(budget_min, "budget-min"),
        budget_max=options.read_number(budget_max, "budget-max"),
        since=options.read_time(since, "since"),
        until=options.read_time(until, "until"),
        name=name,
        pinned=pinned,
    )
    page = operations().list_plans(filters, limit=PAGE_LIMIT)
    if as_json:
        show_json([item.model_dump(mode="json") for item in page.items])
        return
    kept = any(p.names or p.pinned for p in page.items)
    rows = [
        [
            p.id,
            f"{p.effective_bits:.4f}",
            in_bytes(p.file_bytes),
            f"{p.predicted_loss:.4g}",
            ", ".join([*p.names, *(["pinned"] if p.pinned else [])]) if kept else f"{p.gap:.1e}",
            p.runtime,
            f"{p.probe}, {p.rounding}",
        ]
        for p in page.items
    ]
    show_table("plans", ["id", "bits", "file", "predicted", "kept as" if kept else "gap", "runtime", "curves"], rows)
    if page.next is not None:
        say(f"these are the newest {PAGE_LIMIT}; older ones with --until")


@plans.command("show")
def show(plan_id: PlanId, as_json: AsJson = False) -> None:
    """One stored plan with its proof."""
    bitplan = operations()
    document, measured = bitplan.get_plan(plan_id), bitplan.list_evaluations(plan_id)
    if as_json:
        show_json({"plan": document.model_dump(mode="json"), "evaluations": measured.model_dump(mode="json")["items"]})
        return
    show_plan(document)
    if measured.items:
        show_evaluations(measured.items)


def export(
    plan_id: PlanId,
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="What to write; by default what the plan's runtime loads.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; stdout by default.")] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            help="Write the whole quantized checkpoint into this new directory; needs the weights, so not with --url.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """A plan in the words of the engine that will load it."""
    if checkpoint is not None:
        _write_checkpoint(plan_id, checkpoint, target)
        if as_json:
            show_json({"plan": plan_id, "checkpoint": str(checkpoint)})
        return
    exported = operations().export_plan(plan_id, target)
    if output is None:
        show_json(exported)
        return
    _write_text(output, file_text(exported))
    if as_json:
        show_json({"plan": plan_id, "output": str(output)})
    else:
        say(f"wrote {output}")


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror}. Name another file with --output"
        raise ExportError(msg) from error


def _write_checkpoint(plan_id: str, directory: Path, target: str | None) -> None:
    require_new(directory)
    from planner.worker.checkpoints import write_plan_checkpoint  # torch

    database = open_database()
    say("loading the model and rounding its weights …")
    written = write_plan_checkpoint(database, plan_id, directory, target)
    out.print(f"wrote {written}", highlight=False)


def evaluate(
    plan_id: PlanId,
    calibration: Annotated[str | None, typer.Option(help="Calibration set id; by default that of the plan's curves.")] = None,
    alone: Annotated[bool, typer.Option("--alone", help="Without uniform beside it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure a plan on held-out text, beside uniform under the same budget."""
    bitplan = operations()
    request = EvaluateRequest(calibration=calibration, baselines=[] if alone else ["uniform"])
    job = bitplan.evaluate_plan(plan_id, request)
    job = follow(bitplan, job.id, quiet=as_json)
    items = [item for item in bitplan.list_evaluations(plan_id).items if item.job == job.id]
    if as_json:
        show_json([item.model_dump(mode="json") for item in items])
    else:
        show_evaluations(items)
        say_peak(job)
