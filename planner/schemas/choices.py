"""What a plan gives each layer, each layer group and each cache."""

from typing import Annotated, Literal

from pydantic import Field

from planner.schemas.base import Schema, Shared


class NextFormat(Schema):
    """The next larger format of a layer group and what it would buy."""

    format: Annotated[str, Field(description="candidate format")]
    more_bits: Annotated[int, Field(description="stored bits that it takes beyond the chosen one")]
    loss_change: Annotated[float, Field(description="predicted loss there minus here; negative where it helps")]


class Choice(Shared):
    """What the plan gives one layer."""

    layer: Annotated[str, Field(description="name of the layer")]
    kind: Annotated[str, Field(description="its kind: q_proj, down_proj, …")]
    block: Annotated[int | None, Field(description="its transformer block; null outside of the blocks")]
    group: Annotated[int, Field(description="layers of one group share their format")]
    format: Annotated[str, Field(description="candidate format that it is stored in")]
    size_bits: Annotated[int, Field(description="exact stored bits, with scales, zero points and padding")]


class KVChoice(Schema):
    """What the plan gives the keys, or the values, of one attention layer."""

    layer: Annotated[str, Field(description="name of the cache: that of the attention module and k_cache or v_cache")]
    block: Annotated[int | None, Field(description="its transformer block")]
    tensor: Annotated[Literal["K", "V"], Field(description="keys or values")]
    group: Annotated[int, Field(description="caches of one group share their format; index of kv_groups")]
    format: Annotated[str, Field(description="format of caches (K_INT8)")]
    size_bits: Annotated[int, Field(description="exact stored bits at the asked context and batch")]


class GroupChoice(Shared):
    """What the plan gives one layer group, and why."""

    layers: Annotated[list[str], Field(description="names of the layers that share the format")]
    format: Annotated[str, Field(description="candidate format of all of them")]
    size_bits: Annotated[int, Field(description="exact stored bits of all of them")]
    predicted_loss: Annotated[float, Field(description="sum of their losses in this format, by the curves")]
    standard_error: Annotated[float, Field(description="of predicted_loss")]
    next_up: Annotated[NextFormat | None, Field(description="what the next larger format would buy; null at the largest")]
    fragile: Annotated[
        bool,
        Field(description="another format would win if the losses moved by one standard error, at this price of a bit"),
    ]


class PoolPart(Schema):
    """What lies in one memory pool of the device."""

    pool: Annotated[str, Field(description="its name")]
    layers: Annotated[list[str], Field(description="planned layers, and caches where they are planned, in model order")]
    size_bits: Annotated[int, Field(description="exact stored bits of them")]
