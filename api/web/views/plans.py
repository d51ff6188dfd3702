"""Stored plans: the list, one in full, two side by side."""

import json
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.orm import Session

from api.dependencies import Cursor, DatabaseOf, Identity
from api.web.rendering import render
from planner.budget import BudgetKind
from planner.errors import InvalidRequestError, NotFoundError, PlannerError
from planner.exports.target import file_text
from planner.runtimes import RUNTIMES
from planner.schemas.plan_keeping import EventFilters, PlanFilters, PlanPin
from planner.schemas.plans import PlanDocument
from planner.services import (
    calibrations,
    evaluations,
    exporting,
    models,
    plan_diffs,
    plan_listing,
    plan_names,
    plan_pins,
    plan_trail,
)
from planner.services.export_choices import export_choices
from planner.services.family_choices import model_names
from planner.services.plan_layers import EVERY_LAYER, LayerSearch, Order, find_layers, plan_layers
from planner.services.plan_summaries import plan_summary
from planner.services.plan_views import tiles, tiles_json, view_plan

_ON_A_PAGE: Final = 25
_LAYERS: Final = 100
_A_WHILE: Final = "private, max-age=300"
"""How long a page of layers may be shown again: a plan does not change, but it may be deleted."""
_TRAIL: Final = 50
_CHANGES: Final = 200
_WORDS: Final = 200
_IN_STUDIO: Final = (BudgetKind.FILE_BYTES, BudgetKind.RESIDENT_BYTES, BudgetKind.EFFECTIVE_BITS, BudgetKind.DECODE_SECONDS)
_CONTROLLED: Final = {
    *("model", "runtime", "formats", "probe", "setting", "rounding", "kv_formats", "pins", "experts", "budget", "allow_slack")
}
"""Fields of a request that the studio's controls say; curves are said by the setting that the plan was made with."""
Words = Annotated[str, Field(max_length=_WORDS)]
_WORDS_OF: Final = {
    "name": "letters, digits, dots, dashes and underscores, and no more than 100 of them",
    "budget_kind": f"one of {', '.join(BudgetKind)}",
    "pinned": "true or false",
}
"""What a filter may be, by the field of ``PlanFilters``."""
router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


class PlanQuery(BaseModel):
    """The form above the list: an empty field asks for nothing."""

    model: Words = ""
    runtime: Words = ""
    kind: Words = ""
    since: Words = ""
    until: Words = ""
    name: Words = ""
    pinned: Words = ""
    cursor: Cursor = None

    def asked(self) -> dict[str, str]:
        """The fields that ask for something."""
        fields = {name: value.strip() for name, value in self.model_dump(exclude={"cursor"}).items()}
        return {name: value for name, value in fields.items() if value}


class LayerQuery(BaseModel):
    """The form above the layers of a plan, and which page of them."""

    text: Words = ""
    kind: Words = ""
    block: Annotated[str, Field(pattern=r"^[0-9]{0,6}$")] = ""
    format: Words = ""
    order: Order = "model"
    offset: Annotated[int, Field(ge=0, le=10_000_000)] = 0

    def search(self) -> LayerSearch:
        """What is looked for."""
        return LayerSearch(self.text.strip(), self.kind, int(self.block) if self.block else None, self.format, self.order)


@router.get("/plans")
def list_plans(request: Request, query: Annotated[PlanQuery, Query()], database: DatabaseOf) -> HTMLResponse:
    """Stored plans, newest first."""
    asked = query.asked()
    found, problem = None, None
    with database.read_session() as session:
        names = model_names(session)
        try:
            found = plan_listing.list_plans(session, _filters(asked), cursor=query.cursor, limit=_ON_A_PAGE)
        except (InvalidRequestError, NotFoundError) as error:
            problem = str(error)  # told where the list would be: htmx puts no page of a failed request there
    following = None if found is None or found.next is None else urlencode(asked | {"cursor": found.next})
    return render(
        request,
        "plans.html",
        plans=[] if found is None else found.items,
        problem=problem,
        following=following,
        is_first=query.cursor is None,
        asked=asked,
        models=names,
        runtimes=list(RUNTIMES),
        kinds=[(one.value, one.value.replace("_", " ")) for one in BudgetKind],
    )


@router.get("/plans/{plan}")
def show_plan(request: Request, plan: Identity, database: DatabaseOf) -> HTMLResponse:
    """One plan in full."""
    try:
        with database.read_session() as session:
            found = plan_summary(session, plan)
            page = find_layers(plan_layers(session, plan), EVERY_LAYER, limit=_LAYERS)
            facts = found.facts
            model = models.get_model(session, facts.model)
            measured = evaluations.list_evaluations(session, plan).items
            trail = plan_trail.list_events(session, EventFilters(plan=plan), limit=_TRAIL)
            texts = calibrations.list_calibrations(session, limit=100).items
            names = plan_names.list_names(session, facts.model).items
            pin = _pin(session, plan)
    except NotFoundError as error:
        return render(request, "missing.html", status_code=404, message=str(error))
    return render(
        request,
        "plan.html",
        plan=facts,
        model=model,
        layers=found.layers,
        groups=found.groups,
        fragile=found.fragile,
        formats=found.formats,
        evaluations=measured,
        texts=texts,
        text_names={text.id: text.name for text in texts},
        trail=trail,
        names=names,
        own_names=[item for item in names if item.plan == plan],
        pin=pin,
        kinds=found.kinds,
        studio=_studio(facts),
        page=page,
        embedded={
            "id": plan,
            "model": {"id": model.id, "name": model.name},
            "tiles": tiles_json(found.tiles),
            "request": facts.request.model_dump(mode="json", exclude_defaults=True),
            "names": {item.name: item.plan for item in names},
        },
    )


@router.get("/plans/{plan}/layers")
def list_layers(request: Request, plan: Identity, query: Annotated[LayerQuery, Query()], database: DatabaseOf) -> HTMLResponse:
    """A page of a plan's layers, for the table of ``show_plan``."""
    with database.read_session() as session:
        layers = plan_layers(session, plan)
    page = find_layers(layers, query.search(), offset=query.offset, limit=_LAYERS)
    asked = urlencode(query.model_dump(exclude={"offset"}))
    answer = render(request, "plan_layers.html", plan_id=plan, page=page, asked=asked)
    answer.headers["cache-control"] = _A_WHILE
    return answer


@router.get("/plans/{plan}/exports")
def show_exports(request: Request, plan: Identity, database: DatabaseOf) -> HTMLResponse:
    """Where the plan can go, for a part of ``show_plan`` that takes longer."""
    with database.read_session() as session:
        return render(request, "plan_exports.html", plan=plan, choices=export_choices(session, plan))


@router.get("/plans/{plan}/exports/{target}")
def download_export(plan: Identity, target: str, database: DatabaseOf) -> Response:
    """The file that the target reads, as the command line writes it."""
    with database.read_session() as session:
        text = file_text(exporting.export_plan(session, plan, target))
    ending = "json" if text.startswith("{") else "txt"
    headers = {"content-disposition": f'attachment; filename="{plan[:8]}-{target}.{ending}"'}
    return Response(text, media_type="application/octet-stream", headers=headers)


@router.get("/plans/{plan}/diff/{other}")
def show_diff(request: Request, plan: Identity, other: Identity, database: DatabaseOf) -> HTMLResponse:
    """Two plans side by side."""
    try:
        with database.read_session() as session:
            sides = [view_plan(session, one) for one in (plan, other)]
            drawn = [tiles(session, side, beside) for side, beside in (sides, sides[::-1])]
    except NotFoundError as error:
        return render(request, "missing.html", status_code=404, message=str(error))
    return render(
        request,
        "plan_diff.html",
        sides=[side.facts for side in sides],
        embedded={"tiles": [tiles_json(one) for one in drawn], "ids": [plan, other]},
    )


@router.get("/plans/{plan}/diff/{other}/changes")
def show_changes(request: Request, plan: Identity, other: Identity, database: DatabaseOf) -> HTMLResponse:
    """What the two plans differ in, for a part of ``show_diff`` that takes longer."""
    try:
        with database.read_session() as session:
            diff = plan_diffs.diff_plans(session, plan, other)
    except PlannerError as error:
        return render(request, "problem_part.html", message=str(error))
    shown = diff.changed[:_CHANGES]
    return render(request, "plan_changes.html", diff=diff, shown=shown, groups=diff.groups)


def _pin(session: Session, plan: str) -> PlanPin | None:
    try:
        return plan_pins.get_pin(session, plan)
    except NotFoundError:
        return None


def _filters(asked: dict[str, str]) -> PlanFilters:
    """What the form asks for.

    Raises:
        InvalidRequestError: something that no plan could be.
    """
    given: dict[str, Any] = {
        "model": asked.get("model"),
        "runtime": asked.get("runtime"),
        "budget_kind": asked.get("kind"),
        "name": asked.get("name"),
        "pinned": asked.get("pinned"),
        "since": _midnight(asked.get("since")),
        "until": _midnight(asked.get("until"), days=1),
    }
    try:
        return PlanFilters.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        msg = f"{field}: {_WORDS_OF.get(field, first['msg'])}"
        raise InvalidRequestError(msg) from error


def _midnight(day: str | None, *, days: int = 0) -> datetime | None:
    """When a day begins, in UTC; ``days`` later."""
    if day is None:
        return None
    try:
        return datetime.combine(date.fromisoformat(day), time(), UTC) + timedelta(days=days)
    except (ValueError, OverflowError) as error:
        msg = f"{day!r} is no day: write it as 2026-11-28"
        raise InvalidRequestError(msg) from error


def _studio(plan: PlanDocument) -> str:
    """The query that opens the plan's question in the studio; what its controls do not say is under ``rules``."""
    spec, request = plan.budget, plan.request
    limits: dict[str, Any] = {kind.value: getattr(spec, kind.value) for kind in spec.given if kind in _IN_STUDIO}
    if not limits or spec.max_loss is not None:  # nothing to drag, or not what decided: the size that the plan has
        limits |= {BudgetKind.FILE_BYTES.value: plan.size.file_bytes, "unit": BudgetKind.FILE_BYTES.value}
    served = [("context", spec.context), ("batch", spec.batch), ("device", spec.device)]
    chosen = [("formats", ",".join(plan.formats)), ("kv_formats", ",".join(request.kv_formats or []))]
    tied = [("experts", "" if request.experts == "free" else request.experts)]
    pins = [("pin", f"{pattern}={name}") for pattern, name in request.pins.items()]
    asked = [("runtime", plan.runtime), ("setting", plan.provenance.setting), ("rules", _rules(plan))]
    return urlencode([(name, value) for name, value in [*limits.items(), *served, *asked, *chosen, *tied, *pins] if value])


def _rules(plan: PlanDocument) -> str:
    """What was asked for that the studio has no control for, as JSON; empty where there is nothing of it."""
    options: dict[str, Any] = {"mode": "json", "exclude_defaults": True}
    rules = plan.request.model_dump(**options, exclude=_CONTROLLED)
    if limits := plan.budget.model_dump(**options, exclude={*_IN_STUDIO, "context", "batch", "device"}):
        rules["budget"] = limits
    return json.dumps(rules, separators=(",", ":")) if rules else ""
