"""A plan as it is looked at while its question is still being changed: compact, and not stored."""

from typing import Annotated

from pydantic import Field

from planner.schemas.base import Schema
from planner.schemas.caveats import Confidence
from planner.schemas.plans import Prediction
from planner.schemas.proofs import KeptLimit
from planner.schemas.sizes import Size
from planner.schemas.tiles import Tile


class Change(Schema):
    """One layer group in another format."""

    layers: Annotated[list[str], Field(description="names of the first layers of the group")]
    count: Annotated[int, Field(description="layers of the group: they share their format")]
    name: Annotated[str, Field(description="all of them in few words: 'gate_proj, up_proj of block 3'")]
    from_format: Annotated[str, Field(description="what the plan gives them")]
    to_format: Annotated[str, Field(description="what they would have")]
    more_bits: Annotated[int, Field(description="stored bits that it takes beyond the plan's; negative where it frees some")]
    loss_change: Annotated[float, Field(description="predicted loss of the group there minus here")]


class ReferencePoint(Schema):
    """A well-known assignment beside the plan, without its pins and other rules; planned caches have the formats of the plan."""

    label: Annotated[str, Field(description="'uniform INT4_G64', or the name of a stock recipe of the runtime: 'Q4_K_M'")]
    loss: Annotated[float, Field(description="predicted loss, by the same curves")]
    size: Annotated[Size, Field(description="exact sizes")]
    fits: Annotated[bool, Field(description="it keeps every limit of the request")]


class PreviewProof(Schema):
    """How good the plan is among all plans of this problem."""

    status: Annotated[str, Field(description="outcome of the solver")]
    advice: Annotated[str, Field(description="what the status means and what to do about it")]
    lower_bound: Annotated[float, Field(description="no plan within the limits and counts has a smaller objective")]
    gap: Annotated[float, Field(description="(objective − lower_bound) / |objective|; 0 is proven optimal")]
    solver: Annotated[str, Field(description="which solver found it")]
    solve_seconds: Annotated[float, Field(description="time of the solver alone")]


class PlanPreview(Schema):
    """The answer to a plan request, without an id: the same solve and the same proof, and nothing of it is kept."""

    model: Annotated[str, Field(description="id of the model")]
    model_name: Annotated[str, Field(description="its name")]
    runtime: Annotated[str, Field(description="engine that would serve the plan")]
    formats: Annotated[list[str], Field(description="candidate formats of weights")]
    size: Annotated[Size, Field(description="exact sizes of the plan")]
    smallest: Annotated[Size, Field(description="every layer group, and every cache that is planned, in its smallest format")]
    largest: Annotated[Size, Field(description="every one of them in its largest format")]
    predicted: Annotated[Prediction, Field(description="what the curves say the plan costs, without cross terms and steps")]
    proof: Annotated[PreviewProof, Field(description="how good it is among all plans of this problem")]
    binding: Annotated[
        str | None, Field(description="the limits that stop the plan from getting better, if any, comma-separated")
    ]
    price_per_megabyte: Annotated[float, Field(description="loss that one more megabyte (10^6 bytes) would buy, at the margin")]
    limits: Annotated[list[KeptLimit], Field(description="the limits of the request: used, left, ends, and shadow prices")]
    references: Annotated[list[ReferencePoint], Field(description="uniform formats and the runtime's stock recipes, small first")]
    upgrades: Annotated[
        list[Change], Field(description="layer groups that more room would buy a larger format first, the best bargain first")
    ]
    downgrades: Annotated[
        list[Change], Field(description="layer groups that less room would take bits from first, the least harm a bit first")
    ]
    tiles: Annotated[list[Tile], Field(description="what the plan gives the layers of each block and row, in model order")]
    ignored: Annotated[int, Field(description="layers left unquantized")]
    confidence: Annotated[Confidence, Field(description="how far losses of the layers may be added")]
    notes: Annotated[list[str], Field(description="what is worth knowing about the curves")]
    choices: Annotated[
        list[int] | None,
        Field(description="index into formats for every planned layer, in model order; null with aggregate"),
    ]
