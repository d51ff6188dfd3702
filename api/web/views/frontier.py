"""Size against predicted loss, with what was measured. The curves themselves come from ``POST /v1/frontiers``."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from api.dependencies import DatabaseOf, ModelKey
from api.web.rendering import render
from planner.errors import NotFoundError
from planner.runtimes import RUNTIMES
from planner.schemas.curves import ProbeSettingDocument
from planner.services import curves, models
from planner.services.family_choices import has_experts, relatives
from planner.services.measured_plans import MeasuredPlan, measured_plans
from planner.services.planning_inputs import prices_weights, trust
from sensitivity.formats.registry import resolve_format

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/models/{model}/frontier")
def show_frontier(request: Request, model: ModelKey, database: DatabaseOf) -> HTMLResponse:
    """Every budget at once."""
    try:
        with database.read_session() as session:
            found = models.get_model(session, model)
            known = curves.list_settings(session, found.id).items
            settings = sorted((item for item in known if prices_weights(item.probe)), key=lambda item: trust(item.probe))
            measured = measured_plans(session, found.id)
            others = relatives(session, found.id)
            experts = has_experts(session, found.id)
    except NotFoundError as error:
        return render(request, "missing.html", status_code=404, message=str(error))
    controls = {
        "model": {"id": found.id, "name": found.name, "vocab_size": found.vocab_size, "layers": found.layers},
        "settings": [_setting(item) for item in settings],
        "runtimes": list(RUNTIMES),
        "measured": [_measured(item) for item in measured],
        "others": [asdict(other) for other in others],
        "experts": experts,
    }
    return render(request, "frontier.html", tab="frontier", model=found, controls=controls, curves=bool(settings))


def _setting(item: ProbeSettingDocument) -> dict[str, Any]:
    formats = sorted(item.formats, key=lambda name: (resolve_format(name).num_bits, name))
    return {
        "id": item.id,
        "probe": item.probe,
        "rounding": item.rounding,
        "age_seconds": item.age_seconds,
        "in_nats": item.in_nats,
        "formats": formats,
    }


def _measured(item: MeasuredPlan) -> dict[str, Any]:
    return asdict(item) | {"measured_at": item.measured_at.isoformat()}
