"""Registered models, their layers, possible sizes and error curves."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Response

from api.answers import json_answer
from api.dependencies import Cursor, DatabaseOf, Limit, ModelKey, RootsOf
from api.endpoint import Endpoint, needs
from planner.schemas.curves import CurvesDocument, ProbeSettingList
from planner.schemas.inspections import Inspection
from planner.schemas.keys import AccessScope
from planner.schemas.models import LayerList, Model, ModelPage, RegisterModel
from planner.schemas.plans import BoundsRequest, FormatName
from planner.schemas.sensitivity_maps import SensitivityMap
from planner.schemas.sizes import Bounds
from planner.services import curves, inspections, models, plans, sensitivity_maps

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=Endpoint)
CurvesFormat = Annotated[
    Literal["json", "csv"] | None, Query(alias="format", description="json or csv; by default what Accept asks for")
]
FormatNames = Annotated[
    list[FormatName] | None,
    Query(max_length=200, description="candidate formats, repeatable; by default every one with a cell"),
]
ProbeName = Annotated[
    str | None,
    Query(min_length=1, max_length=60, pattern=r"^[a-z0-9_]+$", description="whose cells; by default the most trusted probe"),
]
SettingId = Annotated[
    str | None, Query(min_length=1, max_length=64, pattern=r"^[0-9a-f]+$", description="id of one probe setting")
]
WithExpected = Annotated[bool, Query(description="with the expected losses that plans are made with")]
LayerPattern = Annotated[
    str | None,
    Query(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$", description="shell-style pattern of layer names"),
]


def wants_csv(representation: CurvesFormat = None, accept: Annotated[str | None, Header(include_in_schema=False)] = None) -> bool:
    """By the query, else by the header."""
    return representation == "csv" or (representation is None and (accept or "").startswith("text/csv"))


@router.post("", status_code=201, responses={200: {"model": Model, "description": "These files are registered already"}})
@needs(AccessScope.MEASURE)
def register_model(request: RegisterModel, database: DatabaseOf, roots: RootsOf, response: Response) -> Model:
    """Register a checkpoint: reads its configuration and headers, not its weights. The same files give the same model."""
    description = models.inspect(request.source, revision=request.revision, roots=roots)
    with database.session() as session:
        model, created = models.register(session, description, name=request.name)
    response.status_code = 201 if created else 200
    response.headers["location"] = f"/v1/models/{model.id}"
    return model


@router.post("/inspect")
@needs(AccessScope.MEASURE)
def inspect_model(request: RegisterModel, database: DatabaseOf, roots: RootsOf) -> Inspection:
    """What registering a checkpoint would store, or why it would be refused: reads as much, and stores nothing."""
    description = models.inspect(request.source, revision=request.revision, roots=roots)
    with database.read_session() as session:
        return inspections.inspection_of(session, description)


@router.get("")
def list_models(database: DatabaseOf, cursor: Cursor = None, limit: Limit = 50) -> ModelPage:
    """Registered models, newest first."""
    with database.read_session() as session:
        return models.list_models(session, cursor=cursor, limit=limit)


@router.get("/{model}")
def get_model(model: ModelKey, database: DatabaseOf) -> Model:
    """One model."""
    with database.read_session() as session:
        return models.get_model(session, model)


@router.delete("/{model}", status_code=204)
@needs(AccessScope.ADMIN)
def delete_model(model: ModelKey, database: DatabaseOf) -> None:
    """Forget a model with its layers, cells, jobs, plans and evaluations; the files stay."""
    with database.session() as session:
        models.delete_model(session, model)


@router.get("/{model}/layers", response_model=LayerList)
def list_layers(model: ModelKey, database: DatabaseOf) -> Response:
    """Its quantizable layers, in model order."""
    with database.read_session() as session:
        return json_answer(models.list_layers(session, model))


@router.get("/{model}/bounds")
def get_bounds(
    model: ModelKey,
    database: DatabaseOf,
    formats: Annotated[list[FormatName], Query(min_length=1, max_length=200, description="candidate formats, repeatable")],
    runtime: Annotated[str, Query(max_length=40, description="engine that will serve the plan")] = "generic",
    context: Annotated[int, Query(ge=0, le=2**31, description="tokens in the KV cache of one sequence")] = 0,
    batch: Annotated[int, Query(ge=1, le=2**20, description="sequences served at once")] = 1,
) -> Bounds:
    """Smallest and largest plan before any measuring, every layer free to take any of the formats."""
    request = BoundsRequest(formats=formats, runtime=runtime, context=context, batch=batch)
    with database.read_session() as session:
        return plans.bounds(session, model, request)


@router.post("/{model}/bounds")
@needs(AccessScope.READ)
def ask_bounds(model: ModelKey, request: BoundsRequest, database: DatabaseOf) -> Bounds:
    """Smallest and largest plan before any measuring, under pins, floors, ceilings and menus."""
    with database.read_session() as session:
        return plans.bounds(session, model, request)


@router.get("/{model}/settings")
def list_probe_settings(model: ModelKey, database: DatabaseOf) -> ProbeSettingList:
    """How it was measured so far, freshest first."""
    with database.read_session() as session:
        return curves.list_settings(session, model)


@router.get(
    "/{model}/curves",
    response_model=CurvesDocument,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "The cells, as JSON or CSV"}},
)
def get_curves(
    model: ModelKey,
    database: DatabaseOf,
    probe: ProbeName = None,
    setting: SettingId = None,
    formats: FormatNames = None,
    layers: LayerPattern = None,
    expected: WithExpected = False,
    as_csv: Annotated[bool, Depends(wants_csv)] = False,
) -> Response:
    """The cells of one probe setting, layer by layer in model order."""
    with database.read_session() as session:
        found = curves.get_curves(session, model, probe=probe, setting=setting, formats=formats, layers=layers, expected=expected)
    return Response(curves.curves_csv(found), media_type="text/csv; charset=utf-8") if as_csv else json_answer(found)


@router.get("/{model}/sensitivity", response_model=SensitivityMap)
def get_sensitivity(model: ModelKey, database: DatabaseOf, probe: ProbeName = None, setting: SettingId = None) -> Response:
    """The losses of one probe setting by block and row, experts together, and the layers at either end: for a heat map."""
    with database.read_session() as session:
        return json_answer(sensitivity_maps.sensitivity_map(session, model, probe=probe, setting=setting))
