"""`bitplan plans diff`, `name`, `unname`, `names`, `which`, `pin`, `unpin`, `history` and `delete`."""

from datetime import datetime
from typing import Annotated

import typer

from planner.cli.differences import show_diff
from planner.cli.reporting import AsJson, out, say, show_json, show_table
from planner.cli.workspace import operations
from planner.schemas.plan_keeping import EventFilters, MoveName, PinRequest, PlanEvent
from planner.services.pagination import PAGE_LIMIT

PlanId = Annotated[str, typer.Argument(help="Plan id.")]
ModelName = Annotated[str, typer.Argument(help="Model id or name.")]
Name = Annotated[str, typer.Argument(help="Name of a plan, such as production; unique within the model.")]
Why = Annotated[str, typer.Option("--why", help="Reason, for the trail.")]
Replaces = Annotated[
    str | None, typer.Option("--replaces", help="Only if this plan bears the name now; 'none': only if no plan does.")
]
NOBODY = "none"


def diff(
    plan: PlanId,
    other: Annotated[str, typer.Argument(help="Id of the plan to compare it with.")],
    most: Annotated[int, typer.Option("--layers", min=0, help="So many of the changes, those of the most bits first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """What changes from a plan to another one: layers, sizes, losses, and what was asked."""
    found = operations().diff_plans(plan, other)
    if as_json:
        show_json(found)
    else:
        show_diff(found, most)


def name(plan: PlanId, called: Name, why: Why = "", replaces: Replaces = None, as_json: AsJson = False) -> None:
    """Let a name of the plan's model stand for this plan, whichever bore it before."""
    bitplan = operations()
    expected = {} if replaces is None else {"replaces": None if replaces == NOBODY else replaces}
    request = MoveName.model_validate({"plan": plan, "why": why} | expected)
    moved = bitplan.move_plan_name(bitplan.get_plan(plan).model, called, request)
    if as_json:
        show_json(moved)
    else:
        say(f"{called} is plan {moved.plan} (version {moved.version} of the name)")


def unname(model: ModelName, called: Name, why: Why = "", replaces: Replaces = None, as_json: AsJson = False) -> None:
    """Take a name away from the plan that bears it."""
    operations().remove_plan_name(model, called, replaces=replaces, why=why)
    if as_json:
        show_json({"model": model, "name": called, "plan": None})
    else:
        say(f"no plan of {model} is called {called} now")


def names(model: ModelName, as_json: AsJson = False) -> None:
    """Names that plans of a model bear now."""
    found = operations().list_plan_names(model)
    if as_json:
        show_json(found)
        return
    rows = [[_signed(item.name, item.who, item.why), item.plan, _when(item.since)] for item in found.items]
    show_table("names", ["name", "plan", "since"], rows)


def which(model: ModelName, called: Name, as_json: AsJson = False) -> None:
    """Id of the plan that bears a name: for scripts."""
    found = operations().get_plan_name(model, called)
    if as_json:
        show_json(found)
    else:
        out.print(found.plan, highlight=False)


def pin(plan: PlanId, why: Why = "", as_json: AsJson = False) -> None:
    """Keep a plan from being deleted."""
    pinned = operations().pin_plan(plan, PinRequest(why=why))
    if as_json:
        show_json(pinned)
    else:
        say(f"plan {plan} is pinned since {_when(pinned.since)} by {pinned.who}")


def unpin(plan: PlanId, why: Why = "", as_json: AsJson = False) -> None:
    """Let a plan be deleted again."""
    operations().unpin_plan(plan, why=why)
    if as_json:
        show_json({"plan": plan, "pinned": False})
    else:
        say(f"plan {plan} is not pinned now")


def delete(plan: PlanId, why: Why = "", as_json: AsJson = False) -> None:
    """Forget a plan with its evaluations; one that is pinned or bears a name stays."""
    operations().delete_plan(plan, why=why)
    if as_json:
        show_json({"plan": plan, "deleted": True})
    else:
        say(f"plan {plan} is deleted")


def history(
    plan: Annotated[str | None, typer.Argument(help="Only of this plan.")] = None,
    model: Annotated[str | None, typer.Option(help="Only of this model's plans.")] = None,
    called: Annotated[str | None, typer.Option("--name", help="Only of this name of the model.")] = None,
    as_json: AsJson = False,
) -> None:
    """Who named, pinned or deleted which plan, when and why; newest first."""
    page = operations().list_plan_events(EventFilters(model=model, name=called, plan=plan), limit=PAGE_LIMIT)
    if as_json:
        show_json(page)
        return
    show_table("history", ["what", "plan", "when"], [_line(event) for event in page.items])
    if page.next is not None:
        say(f"these are the newest {PAGE_LIMIT} lines; --json and GET /v1/plan-events have the rest")


def _line(event: PlanEvent) -> list[str]:
    what = event.action if event.name is None else f"{event.action} {event.name} v{event.version}"
    return [_signed(what, event.who, event.why), event.plan, _when(event.at)]


def _when(moment: datetime) -> str:
    """By this machine's clock, as ``--since`` is read."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"


def _signed(what: str, who: str, why: str) -> str:
    return f"{what}, by {who}{f': {why}' if why else ''}"
