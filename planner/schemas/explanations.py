"""Why a plan gives each layer its format, and what it would take to change it."""

from typing import Annotated

from pydantic import Field

from planner.schemas.base import Schema


class Option(Schema):
    """One candidate format of a layer group."""

    format: Annotated[str, Field(description="candidate format")]
    chosen: Annotated[bool, Field(description="the plan's own")]
    refusals: Annotated[
        list[str],
        Field(description="what keeps the group from it: the runtime, a tied member, a rule, a cell; empty where it is allowed"),
    ]
    size_bits: Annotated[int | None, Field(description="exact stored bits of the whole group; null where it is not allowed")]
    predicted_loss: Annotated[float | None, Field(description="of the group by its present curves; likewise")]
    standard_error: Annotated[float | None, Field(description="of predicted_loss; likewise")]
    margin: Annotated[
        float | None,
        Field(
            description="loss and the plan's prices of all that it takes, minus the same of the chosen format: what it is worse "
            "by. Negative where it is better alone and does not fit: the gap of whole numbers"
        ),
    ]


class Neighbour(Schema):
    """The next format in one direction, and its price beside the plan's."""

    format: Annotated[str, Field(description="candidate format")]
    more_bits: Annotated[
        int, Field(description="stored bits of the group beyond the chosen format's; negative for a smaller one")
    ]
    loss_change: Annotated[float, Field(description="predicted loss there minus here")]
    price_per_megabyte: Annotated[
        float, Field(description="loss that each megabyte (10^6 bytes) of the step buys; for a smaller format, that it costs")
    ]
    of_plan_price: Annotated[
        float | None,
        Field(
            description="that, divided by the plan's price of a megabyte; null where nothing limits the bytes. A step up pays "
            "above 1"
        ),
    ]


class Flip(Schema):
    """The format that is closest to winning, and what would have to change."""

    format: Annotated[str, Field(description="candidate format")]
    margin: Annotated[float, Field(description="the chosen loss would have to be so much higher, or this one's so much lower")]
    standard_errors: Annotated[
        float | None,
        Field(description="margin in standard errors of the difference, cells taken as independent; null without errors"),
    ]
    price_per_megabyte: Annotated[
        float | None,
        Field(
            description="price of a megabyte at which both are equal, all else unchanged; null where no price makes them equal"
        ),
    ]
    advice: Annotated[str, Field(description="the same in words")]


class ExplainedGroup(Schema):
    """Layers that share a format, and all that decides about it."""

    layers: Annotated[list[str], Field(description="names of the members, those that were not asked for included")]
    tied_by: Annotated[list[str], Field(description="why they share a format; empty for a layer alone")]
    format: Annotated[str, Field(description="the plan's")]
    size_bits: Annotated[int, Field(description="exact stored bits of all members, as the plan has them")]
    predicted_loss: Annotated[float, Field(description="of all members, as the plan was made with")]
    standard_error: Annotated[float, Field(description="of predicted_loss")]
    held_by: Annotated[list[str], Field(description="rules, ties and refusals that close formats to the group, each once")]
    options: Annotated[list[Option], Field(description="the plan's candidate formats, smallest first, refused ones last")]
    next_up: Annotated[Neighbour | None, Field(description="the smallest larger format that loses less; null where none does")]
    next_down: Annotated[
        Neighbour | None,
        Field(description="the largest smaller format that no other smaller one beats; null where none is allowed"),
    ]
    flip: Annotated[Flip | None, Field(description="null where no other format is allowed")]


class ExplainedLayer(Schema):
    """One layer of the plan."""

    layer: Annotated[str, Field(description="name of the layer, or of a cache")]
    kind: Annotated[str, Field(description="its kind: q_proj, down_proj, k_cache, …")]
    block: Annotated[int | None, Field(description="its transformer block; null outside of the blocks")]
    shape: Annotated[tuple[int, int], Field(description="(out, in)")]
    group: Annotated[int, Field(description="index in groups")]
    format: Annotated[str, Field(description="the plan's")]
    size_bits: Annotated[int, Field(description="exact stored bits")]
    predicted_loss: Annotated[
        float | None, Field(description="of this layer alone, by its present curve; null where it has no cell of its own")
    ]
    standard_error: Annotated[float | None, Field(description="of predicted_loss; null where unknown")]


class PriceOfLimit(Schema):
    """What one more unit of a limit would save."""

    limit: Annotated[str, Field(description="effective_bits, file_bytes, resident_bytes, decode_seconds, …, or what is counted")]
    price: Annotated[float, Field(description="loss for each of its whole units (bits, picoseconds, bit-operations, layers)")]


class PlanExplanation(Schema):
    """A plan, layer by layer: from its stored document and the stored curves, no weights."""

    plan: Annotated[str, Field(description="id of the plan")]
    model_name: Annotated[str, Field(description="what the model was called when the plan was made")]
    runtime: Annotated[str, Field(description="engine that will serve the plan")]
    unit: Annotated[str, Field(description="of all losses: 'nats/token' or 'relative'")]
    price_per_megabyte: Annotated[float, Field(description="loss that one more megabyte (10^6 bytes) would buy, at the margin")]
    prices: Annotated[list[PriceOfLimit], Field(description="every limit and count that has a price")]
    matched: Annotated[int, Field(description="layers that the pattern matches")]
    layers: Annotated[list[ExplainedLayer], Field(description="the first of these, in model order")]
    groups: Annotated[list[ExplainedGroup], Field(description="the groups of these layers")]
    kernels: Annotated[
        dict[str, str],
        Field(description="format → what the runtime's kernels for it ask of the machine; absent: nothing in particular"),
    ]
    notes: Annotated[list[str], Field(description="what is worth knowing about the explanation")]
