"""Imports of what other tools measured or decided."""

from fastapi import APIRouter, Response

from api.dependencies import DatabaseOf, ModelKey
from api.endpoint import Endpoint, needs
from planner.schemas.imports import ImportDocument, ImportRequest
from planner.schemas.keys import AccessScope
from planner.services import imports

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=Endpoint)


@router.post("/{model}/imports", status_code=201)
@needs(AccessScope.MEASURE)
def import_files(model: ModelKey, request: ImportRequest, database: DatabaseOf, response: Response) -> ImportDocument:
    """Import exllamav2's measurement, auto-round's cache, mlx-lm's sensitivities or a CSV table as cells, EvoPress' as a plan.

    All of the files or nothing is stored. The same files give the same cells; a plan is a new one each time.
    """
    with database.read_session() as session:
        read = imports.from_request(session, model, request)
    with database.session() as session:
        document = imports.store(session, read)
    where = f"/v1/models/{document.model}/curves?setting={document.setting}"
    response.headers["location"] = where if document.plan is None else f"/v1/plans/{document.plan}"
    return document
