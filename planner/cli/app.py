"""The `bitplan` command. Commands ask for the operations that REST has; `--json` prints the same documents."""

import typer

from planner.cli.commands_applying import apply
from planner.cli.commands_curves import curves
from planner.cli.commands_database import db
from planner.cli.commands_devices import device
from planner.cli.commands_explaining import explain, retarget
from planner.cli.commands_families import family
from planner.cli.commands_importing import import_files
from planner.cli.commands_keys import keys
from planner.cli.commands_linking import link
from planner.cli.commands_measuring import calibrations, jobs, measure
from planner.cli.commands_models import formats, models, runtimes
from planner.cli.commands_plan_keeping import delete, diff, history, name, names, pin, unname, unpin, which
from planner.cli.commands_planning import bounds, evaluate, export, frontier, plan, plans
from planner.cli.commands_refining import refine
from planner.cli.commands_running import demo, serve, worker, workers
from planner.cli.commands_searching import search
from planner.cli.commands_splitting import split
from planner.cli.reporting import ReportingGroup
from planner.cli.workspace import choose_service
from planner.logs import configure_logs

app = typer.Typer(
    cls=ReportingGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measure once what each format costs each layer; then plan any bit budget in milliseconds, with a proof. "
    "Exit codes: 0 done, 2 bad input, 3 a budget that no plan keeps, 4 a job that failed.",
)
app.callback()(choose_service)
app.add_typer(models, name="models")
app.add_typer(calibrations, name="calibrations")
app.add_typer(jobs, name="jobs")
app.add_typer(curves, name="curves")
app.add_typer(plans, name="plans")
app.add_typer(keys, name="keys")
app.add_typer(device, name="device")
for keeping in (explain, retarget, diff, name, unname, names, which, pin, unpin, history, delete):
    plans.command()(keeping)
app.add_typer(db, name="db")
for command in (
    formats,
    runtimes,
    measure,
    link,
    bounds,
    plan,
    frontier,
    family,
    split,
    refine,
    search,
    evaluate,
    export,
    apply,
    serve,
    worker,
    workers,
    demo,
):
    app.command()(command)
app.command("import")(import_files)


def main() -> None:
    """Run the command of this process's arguments. Only the long-running commands log below WARNING."""
    configure_logs("WARNING")
    app()


if __name__ == "__main__":
    main()
