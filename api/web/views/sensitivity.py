"""What each format costs each layer: heat map, error curves, the ends, and two measurements compared."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from starlette.background import BackgroundTask

from api.dependencies import DatabaseOf, ModelKey
from api.web.rendering import render
from planner.errors import NotFoundError
from planner.services import curves, models
from planner.services.layer_tiles import LayerTiles, model_tiles
from planner.services.sensitivity_maps import prepare_map
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
    layer: Annotated[str | None, Query(max_length=300)] = None,
) -> HTMLResponse:
    """The measurements to choose from; the page's script draws the chosen one."""
    try:
        with database.read_session() as session:
            found = models.get_model(session, model)
            known = curves.list_settings(session, found.id).items
            tiles = model_tiles(session, found.id) if layer and known else None
    except NotFoundError as error:
        return render(request, "missing.html", status_code=404, message=str(error))
    context: dict[str, Any] = {"tab": "sensitivity", "model": found, "settings": known}
    if known:
        chosen = curves.choose_setting(known, setting=setting)
        usual = min(chosen.formats, key=lambda name: abs((get_cell_format(name).num_bits or 0) - USUAL_BITS))
        context |= _chosen(tiles, layer) if tiles and layer else {}
        context |= {"chosen": chosen, "format": candidate if candidate in chosen.formats else usual}
    answer = render(request, "sensitivity.html", **context)
    if known and setting is None:
        answer.background = BackgroundTask(prepare_map, database, found.id)  # while the browser reads the page
    return answer


def _chosen(tiles: LayerTiles, layer: str) -> dict[str, Any]:
    """The tile that a link names, by its pattern or by one of its layers, and then which expert."""
    if layer not in tiles.places:
        return {"tile": layer}
    pattern = tiles.tile_of(layer).pattern
    return {"tile": pattern, "expert": None if pattern == layer else layer}
