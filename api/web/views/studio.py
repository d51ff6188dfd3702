"""The plan studio: what its controls may be set to. The plans themselves come from ``POST /v1/plans/preview``."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from api.dependencies import DatabaseOf, ModelKey
from api.web.rendering import render
from planner.errors import NotFoundError
from planner.schemas.curves import ProbeSettingDocument
from planner.services import curves, devices, models
from planner.services.engine_menus import engine_menus
from planner.services.planning_inputs import prices_weights, trust
from sensitivity.formats.abstract import AbstractFormat
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.families import get_cell_format
from sensitivity.formats.kv_cache import KVCacheFormat

_KV_PROBE: Final = "kv_cache"
router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/models/{model}/studio")
def show_studio(request: Request, model: ModelKey, database: DatabaseOf) -> HTMLResponse:
    """Drag a budget, watch the plan change."""
    try:
        with database.read_session() as session:
            found = models.get_model(session, model)
            known = curves.list_settings(session, found.id).items
            settings = sorted((item for item in known if prices_weights(item.probe)), key=lambda item: trust(item.probe))
            formats = [fmt for fmt in _formats(settings) if isinstance(fmt, CandidateFormat)]
            priced = [item for item in known if item.probe == _KV_PROBE]
            caches = [fmt for fmt in _formats(priced) if isinstance(fmt, KVCacheFormat)]
            menus = engine_menus(session, found.id, formats, caches)
            names = [device.name for device in devices.list_devices(session).items]
    except NotFoundError as error:
        return render(request, "missing.html", status_code=404, message=str(error))
    controls = {
        "model": {"id": found.id, "name": found.name},
        "settings": [_setting(item) for item in settings],
        "runtimes": [asdict(menu) for menu in menus],
        "kv_formats": [_format(fmt) for fmt in caches],
        "devices": names,
    }
    return render(request, "studio.html", tab="studio", model=found, controls=controls, measured=bool(settings))


def _setting(item: ProbeSettingDocument) -> dict[str, Any]:
    return {
        "id": item.id,
        "probe": item.probe,
        "rounding": item.rounding,
        "age_seconds": item.age_seconds,
        "formats": [_format(fmt) for fmt in _formats([item])],
    }


def _format(fmt: AbstractFormat) -> dict[str, Any]:
    return {"name": fmt.name, "bits": fmt.num_bits}


def _formats(settings: Iterable[ProbeSettingDocument]) -> Sequence[AbstractFormat]:
    """Formats with cells, each once, fewest bits first."""
    found = {name: get_cell_format(name) for item in settings for name in item.formats}
    return sorted(found.values(), key=lambda fmt: (fmt.num_bits or 0, fmt.name))
