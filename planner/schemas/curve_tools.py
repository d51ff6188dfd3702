"""Documents that are read off error curves: fits, and comparisons of two probe settings."""

from typing import Annotated, Literal

from pydantic import Field

from planner.schemas.base import Schema
from planner.schemas.curves import ProbeSettingDocument

CurveFlag = Literal["too_few", "flat", "rising", "not_convex"]
"""What speaks against a fitted curve."""


class LayerFit(Schema):
    """The curve α·β^(−bits) of one layer, and how well it fits."""

    layer: Annotated[str, Field(description="name of the layer")]
    kind: Annotated[str, Field(description="its kind: q_proj, down_proj, …")]
    block: Annotated[int | None, Field(description="its transformer block; null outside of the blocks")]
    log_alpha: Annotated[float | None, Field(description="ln α, α the loss at 0 bits; null without a curve")]
    beta: Annotated[float | None, Field(description="β, by what one bit divides the loss, about 4; null without a curve")]
    residual: Annotated[float | None, Field(description="root mean square of ln loss − ln curve; null without a curve")]
    r_squared: Annotated[
        float | None, Field(description="share of the variance of ln loss that the curve explains; null without a curve")
    ]
    points: Annotated[int, Field(description="cells that the curve was fitted to")]
    left_out: Annotated[int, Field(description="cells of these formats without a positive loss")]
    flags: Annotated[
        list[CurveFlag],
        Field(
            description="too_few: fewer than two points with different bits; flat: β is 1 or less; rising: more bits lose more "
            "somewhere; not_convex: a step to more bits saves more per bit than the one before"
        ),
    ]


class FitsDocument(Schema):
    """Curves fitted to the cells of one probe setting, layer by layer in model order."""

    model: Annotated[str, Field(description="id of the model")]
    setting: Annotated[ProbeSettingDocument, Field(description="how the cells were measured")]
    unit: Annotated[str, Field(description="of the loss: 'nats/token' or 'relative'")]
    formats: Annotated[list[str], Field(description="formats fitted, each at its stored bits per weight of the layer")]
    pooled_beta: Annotated[float | None, Field(description="one β for all layers; null without a curve")]
    items: Annotated[list[LayerFit], Field(description="fits, layer by layer in model order")]


class AgreementDocument(Schema):
    """How far two settings agree on cells that both have."""

    format: Annotated[str | None, Field(description="candidate format; null for all of them together")]
    cells: Annotated[int, Field(description="cells that both have measured")]
    spearman: Annotated[
        float | None, Field(description="Spearman's rank correlation; null with fewer than two cells or without any order")
    ]
    kendall: Annotated[float | None, Field(description="Kendall's tau-b; null likewise")]
    ratio: Annotated[
        float | None,
        Field(
            description="sum of the first over sum of the second; null where their losses cannot be added or their units differ"
        ),
    ]
    ratio_error: Annotated[
        float | None, Field(description="standard error of the ratio, cells taken as independent; null where a cell has none")
    ]


class ComparedCell(Schema):
    """One (layer, format) in both settings."""

    layer: Annotated[str, Field(description="name of the layer")]
    format: Annotated[str, Field(description="candidate format")]
    first: Annotated[float, Field(description="loss in the first setting")]
    first_error: Annotated[float | None, Field(description="its standard error; null where unknown")]
    second: Annotated[float, Field(description="loss in the second setting")]
    second_error: Annotated[float | None, Field(description="its standard error; null where unknown")]


class ComparisonDocument(Schema):
    """Two probe settings of one model, side by side."""

    model: Annotated[str, Field(description="id of the model")]
    first: Annotated[ProbeSettingDocument, Field(description="the first setting")]
    second: Annotated[ProbeSettingDocument, Field(description="the second setting")]
    first_unit: Annotated[str, Field(description="unit of the first: 'nats/token' or 'relative'")]
    second_unit: Annotated[str, Field(description="unit of the second")]
    overall: Annotated[AgreementDocument, Field(description="over all formats together")]
    items: Annotated[list[AgreementDocument], Field(description="format by format")]
    cells: Annotated[list[ComparedCell], Field(description="the cells that were compared, in model order")]
