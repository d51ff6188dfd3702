"""`bitplan measure`, `calibrations`, `jobs`."""

from typing import Annotated

import typer

from planner.cli import options
from planner.cli.adaptive_measuring import (
    EXACT,
    Adaptive,
    Batch,
    Budgets,
    Cells,
    Tolerance,
    check_question,
    measure_adaptively,
    read_budgets,
)
from planner.cli.drifting import compare_checkpoints
from planner.cli.following import follow
from planner.cli.memory_lines import say_forecast, say_peak
from planner.cli.reporting import AsJson, out, say, show_json, show_table
from planner.cli.workspace import operations
from planner.curve_tools.movement import DEFAULT_RATIO
from planner.measuring import setting_of
from planner.schemas.adaptive import AdaptiveRequest
from planner.schemas.calibrations import CreateCalibration
from planner.schemas.jobs import Job, RoundingName, SubmitSensitivity
from planner.services.pagination import PAGE_LIMIT
from sensitivity.formats import families
from sensitivity.formats.abstract import FormatFamily
from sensitivity.probe_facts import all_probe_facts, get_facts
from sensitivity.rounding_facts import get_rounding_facts

DEFAULT_FORMATS = ",".join(families.DEFAULT_FORMATS[FormatFamily.WEIGHTS])

calibrations = typer.Typer(no_args_is_help=True, help="Texts that probes and evaluations run on.")
jobs = typer.Typer(no_args_is_help=True, help="Measurements and evaluations, queued and done.")

Text = Annotated[str, typer.Option("--text", help="'builtin', or a .txt, .jsonl (key text) or .parquet (column text) file.")]
Sequences = Annotated[int, typer.Option(help="Sequences that probes run on.")]
SequenceLength = Annotated[int, typer.Option(help="Tokens of each of them.")]
HeldOut = Annotated[int, typer.Option(help="Sequences kept for evaluation, never probed.")]
HeldOutLength = Annotated[int, typer.Option(help="Tokens of each of them.")]
Rounding = Annotated[RoundingName, typer.Option(help="Rounding method: how weights reach the grid of a format.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


def measure(
    model: Annotated[str, typer.Argument(help="Model id or name.")],
    formats: Annotated[
        str | None,
        typer.Option("--formats", "-f", help=f"Formats, comma-separated; by default {DEFAULT_FORMATS}, or the probe's own."),
    ] = None,
    probe: Annotated[
        str, typer.Option("--probe", "-p", help=f"One of {', '.join(facts.name for facts in all_probe_facts())}.")
    ] = "fisher",
    option: Annotated[
        list[str] | None, typer.Option("--option", help="NAME=VALUE, a hyper-parameter of the probe (draws=16); repeatable.")
    ] = None,
    rounding: Rounding = "rtn",
    text: Text = "builtin",
    sequences: Sequences = 48,
    sequence_length: SequenceLength = 256,
    held_out_sequences: HeldOut = 16,
    held_out_length: HeldOutLength = 512,
    seed: Seed = 0,
    include: Annotated[list[str] | None, typer.Option("--include", help="Layers to measure, by pattern; repeatable.")] = None,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", help="Layers to leave out, by pattern; repeatable.")] = None,
    sample: Annotated[
        int | None,
        typer.Option(help="Measure only so many of the cells, drawn by --seed: spread over formats and the losses known so far."),
    ] = None,
    reuse: Annotated[
        str | None,
        typer.Option("--reuse", help="Measured model that this one was fine-tuned from: measure only what moved since."),
    ] = None,
    reuse_ratio: options.ReuseRatio = DEFAULT_RATIO,
    streaming: options.StreamingChoice = "auto",
    adaptive: Adaptive = False,
    budgets: Budgets = None,
    cells: Cells = None,
    tolerance: Tolerance = 0.01,
    batch: Batch = 16,
    label: Annotated[str | None, typer.Option(help="Only workers with this label measure (`bitplan worker --labels`).")] = None,
    runtime: options.Runtime = "generic",
    force: Annotated[bool, typer.Option(help="Measure again what is measured already.")] = False,
    detach: Annotated[bool, typer.Option(help="Only queue the job; a running worker does it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure error curves: what each format costs each layer. Interrupted, it goes on where it was."""
    wanted = read_budgets(budgets, adaptive=adaptive, alone=not (detach or force or sample))
    bitplan = operations()
    named = options.read_list(formats)
    if wanted:
        check_question(bitplan, model, wanted, probe=probe, formats=named, runtime=runtime)
    calibration = None
    if wanted or get_facts(probe).needs_calibration or get_rounding_facts(rounding).needs_inputs:
        request = CreateCalibration(
            source=text,
            sequences=sequences,
            sequence_length=sequence_length,
            held_out_sequences=held_out_sequences,
            held_out_length=held_out_length,
            seed=seed,
        )
        calibration = bitplan.add_calibration(request).id
    submission = SubmitSensitivity(
        model=model,
        probe=probe,
        probe_parameters=options.read_values(option, "option"),
        formats=named,
        calibration=calibration,
        include=include,
        exclude=exclude or [],
        sample=sample,
        rounding=rounding,
        seed=seed,
        force=force,
        streaming=streaming,
        label=label,
        reuse=reuse,
        reuse_ratio=reuse_ratio,
    )
    if reuse is not None:
        compare_checkpoints(bitplan, model, reuse, submission.formats, quiet=as_json)
    job = bitplan.submit_job(submission)
    if not as_json:
        say_forecast(job)
    if not detach:
        job = follow(bitplan, job.id, quiet=as_json)
    if wanted:
        question = AdaptiveRequest(
            model=job.model,
            probe=probe,
            setting=setting_of(job.request).id,
            target=EXACT,
            formats=submission.formats,
            runtime=runtime,
            calibration=calibration,
            budgets=wanted,
            cells=cells,
            tolerance=tolerance,
            batch=batch,
            seed=seed,
        )
        measure_adaptively(bitplan, question, submission, as_json=as_json)
    elif as_json:
        show_json(job)
    elif job.reason and not job.failed:
        say(job.reason)
    if not as_json:
        say_peak(job)


@calibrations.command("add")
def add(
    text: Text = "builtin",
    name: Annotated[str | None, typer.Option(help="Name to call it by.")] = None,
    sequences: Sequences = 48,
    sequence_length: SequenceLength = 256,
    held_out_sequences: HeldOut = 16,
    held_out_length: HeldOutLength = 512,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Store a text and how to cut it."""
    request = CreateCalibration(
        source=text,
        name=name,
        sequences=sequences,
        sequence_length=sequence_length,
        held_out_sequences=held_out_sequences,
        held_out_length=held_out_length,
        seed=seed,
    )
    stored = operations().add_calibration(request)
    if as_json:
        show_json(stored)
    else:
        out.print(
            f"calibration set {stored.id} ({stored.characters:,} characters of {stored.name})", markup=False, highlight=False
        )


@calibrations.command("list")
def list_calibrations(as_json: AsJson = False) -> None:
    """Stored texts, newest first."""
    page = operations().list_calibrations(limit=PAGE_LIMIT)
    if as_json:
        show_json(page)
        return
    rows = [
        [c.name, f"{c.sequences} × {c.sequence_length}", f"{c.held_out_sequences} × {c.held_out_length}", c.id]
        for c in page.items
    ]
    show_table("calibration sets", ["name", "probed", "held out", "id"], rows)


@jobs.command("list")
def list_jobs(as_json: AsJson = False) -> None:
    """Jobs, newest first."""
    page = operations().list_jobs(limit=PAGE_LIMIT)
    if as_json:
        show_json(page)
        return
    rows = [
        [j.id, j.kind, j.state.value, f"{j.done}/{j.total if j.total is not None else '?'}", j.reason or j.waits_for or ""]
        for j in page.items
    ]
    show_table("jobs", ["id", "kind", "state", "units", "reason"], rows)


@jobs.command("show")
def show(job_id: Annotated[str, typer.Argument(help="Job id.")], as_json: AsJson = False) -> None:
    """One job."""
    job = operations().get_job(job_id)
    if as_json:
        show_json(job)
    else:
        out.print(
            f"{job.id} {job.kind} {job.state} {job.done}/{job.total} {job.reason or job.waits_for or ''}",
            markup=False,
            highlight=False,
        )


@jobs.command("follow")
def follow_job(job_id: Annotated[str, typer.Argument(help="Job id.")], as_json: AsJson = False) -> None:
    """Work on a job here until it ends, or with --url watch it; goes on where an interrupted one stopped."""
    job = follow(operations(), job_id, quiet=as_json)
    if as_json:
        show_json(job)


@jobs.command("cancel")
def cancel(job_id: Annotated[str, typer.Argument(help="Job id.")], as_json: AsJson = False) -> None:
    """Stop a job after its present unit; finished units stay."""
    _show_state(operations().cancel_job(job_id), as_json=as_json)


@jobs.command("pause")
def pause(job_id: Annotated[str, typer.Argument(help="Job id.")], as_json: AsJson = False) -> None:
    """Let a job rest after its present unit, until it is resumed."""
    _show_state(operations().pause_job(job_id), as_json=as_json)


@jobs.command("resume")
def resume(job_id: Annotated[str, typer.Argument(help="Job id.")], as_json: AsJson = False) -> None:
    """Let a paused job go on."""
    _show_state(operations().resume_job(job_id), as_json=as_json)


@jobs.command("retry")
def retry(job_id: Annotated[str, typer.Argument(help="Job id.")], as_json: AsJson = False) -> None:
    """Queue a failed or cancelled job again; finished units are not run again."""
    _show_state(operations().retry_job(job_id), as_json=as_json)


def _show_state(job: Job, *, as_json: bool) -> None:
    if as_json:
        show_json(job)
    else:
        out.print(f"{job.id} is {job.state}", highlight=False)
