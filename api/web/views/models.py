"""Registered models, and one model at a glance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from api.dependencies import DatabaseOf, ModelKey
from api.web import heat_map
from api.web.rendering import render
from planner.errors import NotFoundError
from planner.schemas.curves import ProbeSettingDocument
from planner.schemas.jobs import Job
from planner.schemas.plan_keeping import PlanFilters
from planner.schemas.plans import Evaluation, PlanSummary
from planner.services import curves, evaluations, jobs, models, plan_listing
from sensitivity.formats.families import get_cell_format

_SHOWN = 20
_USUAL_BITS = 4
router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@dataclass(frozen=True, slots=True)
class PlanLine:
    """A plan with the newest measurement of it and of uniform under the same budget."""

    plan: PlanSummary
    measured: Evaluation | None
    uniform: Evaluation | None


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What the heat map of a model shows, and what else could be chosen."""

    settings: Sequence[ProbeSettingDocument]
    setting: ProbeSettingDocument
    format: str
    unit: str
    drawing: heat_map.HeatMap


@router.get("/")
def home(request: Request, database: DatabaseOf) -> HTMLResponse:
    """Registered models and recent jobs."""
    with database.read_session() as session:
        found = models.list_models(session, limit=200)
        recent = jobs.list_jobs(session, limit=_SHOWN)
    names = {model.id: model.name for model in found.items}
    return render(request, "home.html", models=found.items, jobs=recent.items, names=names, live=_live(recent.items))


@router.get("/models/{model}")
def show_model(
    request: Request,
    model: ModelKey,
    database: DatabaseOf,
    setting: Annotated[str | None, Query(max_length=64)] = None,
    candidate: Annotated[str | None, Query(max_length=60, alias="format")] = None,
) -> HTMLResponse:
    """One model: its heat map, plans and jobs."""
    try:
        with database.read_session() as session:
            found = models.get_model(session, model)
            recent = jobs.list_jobs(session, model=found.id, limit=_SHOWN).items
            lines = _plan_lines(session, found.id)
            sensitivity = _sensitivity(session, found.id, setting, candidate)
    except NotFoundError as error:
        return render(request, "missing.html", status_code=404, message=str(error))
    return render(
        request,
        "model.html",
        tab="overview",
        model=found,
        jobs=recent,
        lines=lines,
        sensitivity=sensitivity,
        names={},
        live=_live(recent),
    )


def _live(recent: Sequence[Job]) -> bool:
    return any(not job.state.is_final for job in recent)


def _plan_lines(session: Session, model: str) -> list[PlanLine]:
    lines = []
    for plan in plan_listing.list_plans(session, PlanFilters(model=model), limit=_SHOWN).items:
        newest: dict[str, Evaluation] = {}
        for evaluation in evaluations.list_evaluations(session, plan.id).items:
            newest.setdefault(evaluation.label.split()[0], evaluation)
        lines.append(PlanLine(plan, newest.get("plan"), newest.get("uniform")))
    return lines


def _sensitivity(session: Session, model: str, setting: str | None, candidate: str | None) -> Sensitivity | None:
    """The chosen (or most trusted) setting and format; ``None`` while nothing was measured."""
    known = curves.list_settings(session, model).items
    if not known:
        return None
    chosen = curves.choose_setting(known, setting=setting)
    names = chosen.formats
    usual = min(names, key=lambda name: abs((get_cell_format(name).num_bits or 0) - _USUAL_BITS))
    shown = candidate if candidate in names else usual
    found = curves.get_curves(session, model, setting=chosen.id, formats=[shown])
    return Sensitivity(known, chosen, shown, found.unit, heat_map.lay_out(found.items, found.unit))
