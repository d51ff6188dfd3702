"""Links: a cheap probe's curves brought to the scale of an exact probe."""

from fastapi import APIRouter, Response

from api.dependencies import DatabaseOf, ModelKey
from api.endpoint import Endpoint, needs
from planner.schemas.keys import AccessScope
from planner.schemas.links import LinkDocument, LinkRequest
from planner.services import links

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=Endpoint)


@router.post("/{model}/links", status_code=201)
@needs(AccessScope.MEASURE)
def create_link(model: ModelKey, request: LinkRequest, database: DatabaseOf, response: Response) -> LinkDocument:
    """Fit a monotone link from a cheap probe to the cells that an exact probe measured, and store the linked curves.

    They are a probe setting like any other: `calibrated_fisher` for `fisher`, more trusted than it, with the fit and its
    held-out check in the setting's parameters. The same cells give the same setting.
    """
    document = links.create_link(database, model, request)
    response.headers["location"] = f"/v1/models/{document.model}/curves?setting={document.setting}"
    return document
