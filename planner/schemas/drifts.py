"""Requests and documents of drifts: how far the layers of a model are from those of another checkpoint."""

from typing import Annotated

from pydantic import Field

from planner.curve_tools.movement import DEFAULT_RATIO
from planner.schemas.base import Reference, Schema

ReuseRatio = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="a cell has not moved where its layer's relative change is at most this share of the format's relative "
        "rounding error",
    ),
]


class SubmitDrift(Schema):
    """Compare the weights of a model with those of another checkpoint of the same shapes."""

    reference: Annotated[Reference, Field(description="model to compare with: its id, or its name")]


class LayerDrift(Schema):
    """How far one layer is from the same layer of the reference."""

    layer: Annotated[str, Field(description="name of the layer")]
    kind: Annotated[str, Field(description="its kind: q_proj, down_proj, …")]
    block: Annotated[int | None, Field(description="its transformer block; null outside of the blocks")]
    change: Annotated[
        float | None,
        Field(
            description="norm of the difference over norm of the reference's weights; null where the two cannot be compared: no "
            "such layer, another shape, or zeros"
        ),
    ]
    least_rounding_error: Annotated[
        float | None,
        Field(description="smallest relative rounding error of the reference's layer over the formats; null where unknown"),
    ]
    moved: Annotated[
        list[str] | None,
        Field(description="formats whose cells cannot be taken over; null where the rounding error of one of them is unknown"),
    ]


class DriftDocument(Schema):
    """How far a model is from another checkpoint, layer by layer in model order."""

    model: Annotated[str, Field(description="id of the model")]
    reference: Annotated[str, Field(description="id of the checkpoint that it is compared with")]
    ratio: ReuseRatio = DEFAULT_RATIO
    formats: Annotated[list[str], Field(description="formats that were asked for, or whose rounding errors are known")]
    moved_layers: Annotated[
        int | None, Field(description="layers with a cell that cannot be taken over; null where that is unknown of one")
    ]
    items: Annotated[list[LayerDrift], Field(description="drifts, layer by layer in model order")]
