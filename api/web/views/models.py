"""Registered models, and one model at a glance."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session
from starlette.background import BackgroundTask

from api.dependencies import Cursor, DatabaseOf, ModelKey
from api.web.rendering import render
from api.web.views.jobs import part_of
from planner.errors import NotFoundError
from planner.schemas.plan_keeping import PlanFilters, StoredPlan
from planner.schemas.plans import Evaluation
from planner.services import curves, evaluations, models, plan_listing
from planner.services.model_overviews import measuring_costs, overviews
from planner.services.sensitivity_maps import prepare_map

_SHOWN = 8
router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@dataclass(frozen=True, slots=True)
class PlanLine:
    """A plan with the newest measurement of it and of uniform under the same budget."""

    plan: StoredPlan
    measured: Evaluation | None
    uniform: Evaluation | None


@router.get("/")
def home(request: Request, database: DatabaseOf, cursor: Cursor = None) -> HTMLResponse:
    """Registered models, and where to register another."""
    with database.read_session() as session:
        found = models.list_models(session, cursor=cursor)
        lines = overviews(session, found.items)
    most = max((line.bytes for line in lines), default=0)
    return render(request, "models.html", models=lines, most=most, following=found.next)


@router.get("/models/{model}")
def show_model(request: Request, model: ModelKey, database: DatabaseOf) -> HTMLResponse:
    """One model: its bytes, how it was measured, its newest plans and jobs, and what to do next."""
    try:
        with database.read_session() as session:
            found = models.get_model(session, model)
            (overview,) = overviews(session, [found])
            lines = _plan_lines(session, found.id)
            context = {
                "model": found,
                "overview": overview,
                "settings": curves.list_settings(session, found.id).items,
                "costs": measuring_costs(session, found.id),
                "lines": lines,
                "measured": any(line.measured is not None for line in lines),
                **part_of(session, model=found.id, limit=_SHOWN),
            }
    except NotFoundError as error:
        return render(request, "missing.html", status_code=404, message=str(error))
    answer = render(request, "overview.html", tab="overview", **context)
    if context["settings"]:
        answer.background = BackgroundTask(prepare_map, database, found.id)  # what is looked at next
    return answer


def _plan_lines(session: Session, model: str) -> list[PlanLine]:
    plans: Sequence[StoredPlan] = plan_listing.list_plans(session, PlanFilters(model=model), limit=_SHOWN).items
    newest = evaluations.newest_evaluations(session, [plan.id for plan in plans])
    return [PlanLine(plan, newest.get((plan.id, "plan")), newest.get((plan.id, "uniform"))) for plan in plans]
