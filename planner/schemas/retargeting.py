"""A stored plan's question asked again for another runtime."""

from typing import Annotated, Literal

from pydantic import Field

from planner.schemas.base import Schema
from planner.schemas.plan_diffs import PlanDiff
from planner.schemas.plans import BudgetSpec, FormatName, PlanDocument

Cause = Literal["refused", "tied", "packing", "menu", "rebalanced"]


class RetargetRequest(Schema):
    """The same curves, budget and rules, for another runtime."""

    runtime: Annotated[str, Field(min_length=1, max_length=40, description="engine that will serve the new plan")]
    budget: Annotated[BudgetSpec | None, Field(description="another budget; by default the plan's own")] = None
    formats: Annotated[
        list[FormatName] | None,
        Field(
            min_length=1,
            max_length=200,
            description="candidate formats; by default those of the plan that the new runtime takes for some layer",
        ),
    ] = None
    allow_slack: Annotated[
        bool | None,
        Field(
            description="accept a budget that is larger than the largest plan; by default the plan's own budget is accepted and "
            "another one is not, unless the plan was asked for so"
        ),
    ] = None


class DroppedFormat(Schema):
    """A candidate format of the plan that the new runtime takes for no layer."""

    format: Annotated[str, Field(description="candidate format")]
    reason: Annotated[str, Field(description="why the new runtime refuses it, said of the first planned layer")]


class ChangeReason(Schema):
    """Why some layers changed."""

    group: Annotated[int, Field(description="index in diff.groups")]
    layers: Annotated[list[str], Field(description="layers of the group whose format is another one now")]
    cause: Annotated[
        Cause,
        Field(
            description="refused: the new runtime takes the old format for none of the layer's group; tied: layers that share a "
            "format now had several; packing: the step between the two formats takes another number of bits there; menu: the old "
            "format is not among those asked for; rebalanced: nothing of the runtime holds these layers, the bits were worth "
            "more elsewhere"
        ),
    ]
    reason: Annotated[str, Field(description="the same in words, with the layer and the rule")]
    bits_change: Annotated[int, Field(description="stored bits of the group in the new plan minus those in the old one")]
    loss_change: Annotated[float | None, Field(description="predicted loss likewise; null where it is not comparable")]


class CauseTotal(Schema):
    """What all changes of one cause add up to."""

    cause: Annotated[Cause, Field(description="see the reasons")]
    layers: Annotated[int, Field(description="layers whose format changed")]
    bits_change: Annotated[int, Field(description="stored bits, new plan minus old plan")]
    loss_change: Annotated[float | None, Field(description="predicted loss likewise; null where some is not comparable")]


class Retargeted(Schema):
    """The new plan, which is stored, and what the other runtime changed and cost."""

    plan: Annotated[PlanDocument, Field(description="the new plan")]
    diff: Annotated[PlanDiff, Field(description="from the old plan to the new one: layers, sizes, losses")]
    dropped: Annotated[list[DroppedFormat], Field(description="candidate formats that the new runtime takes for no layer")]
    reasons: Annotated[list[ChangeReason], Field(description="why each group of layers changed, in model order")]
    causes: Annotated[list[CauseTotal], Field(description="the reasons added up, the most layers first")]
    repacked_bits: Annotated[
        int,
        Field(description="bits that the layers whose format stays take more by the new runtime's packing"),
    ]
    gap_change: Annotated[float, Field(description="optimality gap of the new plan minus that of the old one")]
    notes: Annotated[list[str], Field(description="what is worth knowing about the comparison")]
