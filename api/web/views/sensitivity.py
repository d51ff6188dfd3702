"""What each format costs each layer: heat map, error curves, the ends, and two measurements compared."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from api.dependencies import DatabaseOf, ModelKey
from api.web.rendering import render
from planner.errors import NotFoundError
from planner.services import curves, models
from sensitivity.formats.families import get_cell_format

USUAL_BITS: Final = 4
"""Of the format that is shown where none is named."""

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/models/{model}/sensitivity")
def show_sensitivity(
    request: Request,
    model: ModelKey,
    database: DatabaseOf,
    setting: Annotated[str | None, Query(max_length=64)] = None,
    candidate: Annotated[str | None, Query(max_length=60, alias="format")] = None,
) -> HTMLResponse:
    """The measurements to choose from; the page's script draws the chosen one."""
    try:
        with database.read_session() as session:
            found = models.get_model(session, model)
            known = curves.list_settings(session, found.id).items
    except NotFoundError as error:
        return render(request, "missing.html", status_code=404, message=str(error))
    context: dict[str, Any] = {"tab": "sensitivity", "model": found, "settings": known}
    if known:
        chosen = curves.choose_setting(known, setting=setting)
        usual = min(chosen.formats, key=lambda name: abs((get_cell_format(name).num_bits or 0) - USUAL_BITS))
        context |= {"chosen": chosen, "format": candidate if candidate in chosen.formats else usual}
    return render(request, "sensitivity.html", **context)
