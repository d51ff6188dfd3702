"""Documents of error curves and of the settings they were measured in."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from planner.schemas.base import Parameters, Schema


class ProbeSettingDocument(Schema):
    """One way in which cells of a model were measured, and how many there are."""

    id: Annotated[str, Field(description="content hash of everything below that changes the numbers")]
    probe: str
    code_version: int
    rounding: str
    rounding_version: int
    calibration: Annotated[str | None, Field(description="calibration set id; null for probes that run without data")]
    parameters: Parameters
    in_nats: Annotated[bool, Field(description="the loss is in nats per token")]
    additive: Annotated[bool, Field(description="losses of different layers may be added")]
    formats: Annotated[list[str], Field(description="formats with at least one cell")]
    cells: Annotated[int, Field(description="cells, measured or with a reason why not")]
    measured_cells: Annotated[int, Field(description="cells with a number")]
    last_measured_at: datetime
    age_seconds: Annotated[float, Field(description="seconds since the last cell was measured")]


class ProbeSettingList(Schema):
    """Probe settings of a model, freshest first."""

    model: str
    items: list[ProbeSettingDocument]


class CellDocument(Schema):
    """One (layer, format) measurement. Only a measured cell has a number."""

    layer: str
    kind: str
    block: int | None
    format: str
    status: Annotated[str, Field(description="measured, no_tokens, non_finite or unsupported_shape")]
    loss: float | None
    standard_error: Annotated[float | None, Field(description="of the mean; null with fewer than two samples")]


class CurvesDocument(Schema):
    """The cells of one probe setting, layer by layer in model order."""

    model: str
    setting: ProbeSettingDocument
    unit: Annotated[str, Field(description="'nats/token' or 'relative'")]
    items: list[CellDocument]
