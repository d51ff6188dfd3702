"""Documents of error curves and of the settings they were measured in."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from planner.schemas.base import Parameters, Schema


class ProbeSettingDocument(Schema):
    """One way in which cells of a model were measured, and how many there are."""

    id: Annotated[str, Field(description="content hash of everything below that changes the numbers")]
    probe: Annotated[str, Field(description="measurement procedure")]
    code_version: Annotated[int, Field(description="of the probe's code")]
    rounding: Annotated[str, Field(description="rounding method")]
    rounding_version: Annotated[int, Field(description="of the rounding method's code")]
    calibration: Annotated[str | None, Field(description="calibration set id; null for probes that run without data")]
    parameters: Annotated[Parameters, Field(description="hyper-parameters, seed included where the probe draws")]
    in_nats: Annotated[bool, Field(description="the loss is in nats per token")]
    additive: Annotated[bool, Field(description="losses of different layers may be added")]
    formats: Annotated[list[str], Field(description="formats with at least one cell")]
    cells: Annotated[int, Field(description="cells, measured or with a reason why not")]
    measured_cells: Annotated[int, Field(description="cells with a number")]
    last_measured_at: Annotated[datetime, Field(description="when the newest cell was stored")]
    age_seconds: Annotated[float, Field(description="seconds since the last cell was measured")]


class ProbeSettingList(Schema):
    """Probe settings of a model, freshest first."""

    model: Annotated[str, Field(description="id of the model")]
    items: Annotated[list[ProbeSettingDocument], Field(description="probe settings, freshest first")]


class CellDocument(Schema):
    """One (layer, format) measurement. Only a measured cell has a number."""

    layer: Annotated[str, Field(description="name of the layer")]
    kind: Annotated[str, Field(description="its kind: q_proj, down_proj, …")]
    block: Annotated[int | None, Field(description="its transformer block; null outside of the blocks")]
    format: Annotated[str, Field(description="candidate format")]
    status: Annotated[str, Field(description="measured, no_tokens, non_finite or unsupported_shape")]
    loss: Annotated[
        float | None,
        Field(description="what storing only this layer in the format costs, in the document's unit; null without a measurement"),
    ]
    standard_error: Annotated[float | None, Field(description="of the mean; null with fewer than two samples")]
    expected_loss: Annotated[
        float | None,
        Field(
            description="freed of the luck of its measurement, as plans take it; null unless asked for, and without a measurement"
        ),
    ] = None
    expected_error: Annotated[float | None, Field(description="standard error of expected_loss; null where none is known")] = None
    drift: Annotated[
        float | None,
        Field(
            description="relative change of the layer's weights since the model that the cell was taken over from, which the "
            "setting's parameter reused_from names; null for a cell measured on this model"
        ),
    ] = None


class CurvesDocument(Schema):
    """The cells of one probe setting, layer by layer in model order."""

    model: Annotated[str, Field(description="id of the model")]
    setting: Annotated[ProbeSettingDocument, Field(description="how all these cells were measured")]
    unit: Annotated[str, Field(description="'nats/token', 'relative', or 'ranking' for numbers that are no losses")]
    items: Annotated[list[CellDocument], Field(description="cells, layer by layer in model order")]
