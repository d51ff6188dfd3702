"""What is read off error curves: fits, and comparisons of two probe settings."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.answers import json_answer
from api.dependencies import DatabaseOf, ModelKey
from api.routes.models import FormatNames, LayerPattern, ProbeName, SettingId
from planner.schemas.curve_tools import ComparisonDocument, FitsDocument
from planner.services import comparisons, curve_fits

router = APIRouter(prefix="/v1/models", tags=["models"])
SettingOrProbe = Annotated[
    str,
    Query(
        min_length=1,
        max_length=64,
        pattern=r"^[a-z0-9_]+(:[a-z0-9_]+)?$",
        description="name of a probe, also with a rounding method (fisher:gptq), or id of one probe setting",
    ),
]


@router.get("/{model}/curves/fits", response_model=FitsDocument)
def get_fits(
    model: ModelKey,
    database: DatabaseOf,
    probe: ProbeName = None,
    setting: SettingId = None,
    formats: FormatNames = None,
    layers: LayerPattern = None,
) -> Response:
    """The curve α·β^(−bits) of each layer, fitted to the cells of one probe setting, with residual and R²."""
    with database.read_session() as session:
        return json_answer(curve_fits.fit(session, model, probe=probe, setting=setting, formats=formats, layers=layers))


@router.get("/{model}/curves/comparison", response_model=ComparisonDocument)
def compare_settings(
    model: ModelKey,
    database: DatabaseOf,
    first: SettingOrProbe,
    second: SettingOrProbe,
    formats: FormatNames = None,
    layers: LayerPattern = None,
) -> Response:
    """Two probe settings side by side: rank correlations, ratios of sums, and the cells that both have."""
    with database.read_session() as session:
        return json_answer(comparisons.compare(session, model, first, second, formats=formats, layers=layers))
