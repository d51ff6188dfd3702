"""Documents of a model's sensitivity at a glance: block × row, and the layers at either end."""

from typing import Annotated

from pydantic import Field

from planner.schemas.base import Schema
from planner.schemas.curves import ProbeSettingDocument
from planner.schemas.tiles import TileName


class Spread(Schema):
    """How the losses of several layers lie, in one format."""

    least: Annotated[float, Field(description="smallest loss")]
    lower: Annotated[float, Field(description="lower quartile: a loss that was measured, nothing between two")]
    median: Annotated[float, Field(description="median, likewise")]
    upper: Annotated[float, Field(description="upper quartile, likewise")]
    greatest: Annotated[float, Field(description="largest loss")]


class MapTile(TileName):
    """What the layers of a tile lose, of which a setting may have measured some alone. Lists are in the order of `formats`."""

    weights: Annotated[int, Field(description="weights of all its layers, measured or not")]
    loss: Annotated[list[float | None], Field(description="mean over its measured layers; null where none was")]
    standard_error: Annotated[
        list[float | None], Field(description="of that mean, errors of its layers taken as independent; null where unknown")
    ]
    bytes: Annotated[
        list[float | None], Field(description="stored bytes of all its layers; null where the format does not store them")
    ]
    measured: Annotated[list[int], Field(description="how many of its layers have a number")]
    spread: Annotated[list[Spread | None], Field(description="over its layers; null with fewer than two numbers")]
    status: Annotated[
        list[str | None], Field(description="why no layer has a number: no_tokens, non_finite, …; null where one has")
    ]


class RankedLayer(Schema):
    """A layer at one end of an order."""

    layer: Annotated[str, Field(description="name of the layer")]
    tile: Annotated[str, Field(description="pattern of the tile that it is of")]
    kind: Annotated[str, Field(description="its kind")]
    block: Annotated[int | None, Field(description="its transformer block; null outside of the blocks")]
    loss: Annotated[float, Field(description="its loss in the format")]
    standard_error: Annotated[float | None, Field(description="of the loss; null where unknown")]
    bytes: Annotated[float | None, Field(description="stored bytes in the format; null where it does not store it")]
    loss_per_megabyte: Annotated[float | None, Field(description="loss ÷ stored megabytes (10⁶ bytes); null likewise")]


class FormatExtremes(Schema):
    """The layers at both ends in one format; a list is empty where there is nothing to order by."""

    format: Annotated[str, Field(description="candidate format")]
    most: Annotated[list[RankedLayer], Field(description="largest losses, the largest first")]
    least: Annotated[list[RankedLayer], Field(description="smallest losses, the smallest first")]
    most_per_megabyte: Annotated[list[RankedLayer], Field(description="largest losses for their size, the largest first")]
    least_per_megabyte: Annotated[list[RankedLayer], Field(description="smallest losses for their size, the smallest first")]


class MapFormat(Schema):
    """A format of the map."""

    name: Annotated[str, Field(description="candidate format")]
    bits: Annotated[
        float | None,
        Field(description="stored bits of all layers ÷ their weights; bits of an element for caches; null without bits"),
    ]


class SensitivityMap(Schema):
    """A model's losses in one probe setting, block × row: the same size for 200 layers and for 40,000."""

    model: Annotated[str, Field(description="id of the model")]
    setting: Annotated[ProbeSettingDocument, Field(description="how all cells were measured")]
    unit: Annotated[str, Field(description="'nats/token', 'relative', or 'ranking' for numbers that are no losses")]
    formats: Annotated[list[MapFormat], Field(description="formats with a cell, fewest bits first")]
    layers: Annotated[int, Field(description="layers with a cell")]
    tiles: Annotated[list[MapTile], Field(description="in model order")]
    extremes: Annotated[list[FormatExtremes], Field(description="in the order of the formats")]
