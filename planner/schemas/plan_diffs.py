"""What two stored plans differ in."""

from typing import Annotated, Any

from pydantic import Field

from planner.schemas.base import Schema
from planner.schemas.plans import BudgetSpec, Prediction
from planner.schemas.sizes import Size


class ComparedPlan(Schema):
    """One of the two plans."""

    id: Annotated[str, Field(description="id of the plan")]
    model: Annotated[str, Field(description="id of the model")]
    model_name: Annotated[str, Field(description="what the model was called when the plan was made")]
    runtime: Annotated[str, Field(description="engine that will serve the plan")]
    budget: Annotated[BudgetSpec, Field(description="upper limit that the plan keeps")]
    size: Annotated[Size, Field(description="exact sizes of the plan")]
    predicted: Annotated[Prediction, Field(description="what the curves say the plan costs")]


class LayerChange(Schema):
    """A layer that the two plans store in different formats."""

    layer: Annotated[str, Field(description="name of the layer")]
    kind: Annotated[str, Field(description="its kind: q_proj, down_proj, …")]
    block: Annotated[int | None, Field(description="its transformer block; null outside of the blocks")]
    group: Annotated[int, Field(description="index in groups")]
    format: Annotated[str, Field(description="candidate format in the plan")]
    other_format: Annotated[str, Field(description="candidate format in the other plan")]
    bits_change: Annotated[int, Field(description="stored bits in the other plan minus those in the plan")]


class KVChange(Schema):
    """A cache of keys or values that the two plans keep in different formats."""

    layer: Annotated[str, Field(description="name of the cache")]
    block: Annotated[int | None, Field(description="its transformer block")]
    format: Annotated[str, Field(description="format of caches in the plan")]
    other_format: Annotated[str, Field(description="format of caches in the other plan")]
    bits_change: Annotated[
        int, Field(description="stored bits in the other plan minus those in the plan, each at its own context")
    ]


class LimitChange(Schema):
    """What both plans make of a limit that at least one of them was asked to keep."""

    kind: Annotated[str, Field(description="effective_bits, file_bytes, resident_bytes, decode_seconds, …")]
    used: Annotated[
        float | None, Field(description="what the plan takes, in the unit of the limit; null where it has no such limit")
    ]
    other_used: Annotated[float | None, Field(description="what the other plan takes")]
    price: Annotated[float | None, Field(description="predicted loss that one more unit would save in the plan, at the margin")]
    other_price: Annotated[float | None, Field(description="the same in the other plan")]


class GroupChange(Schema):
    """Layers that at least one of the plans ties, with at least one change: the smallest part whose loss both plans know."""

    layers: Annotated[list[str], Field(description="names of the layers, those that did not change included")]
    bits_change: Annotated[int, Field(description="stored bits in the other plan minus those in the plan")]
    predicted_loss: Annotated[float, Field(description="of these layers in the plan, by its curves")]
    other_loss: Annotated[float, Field(description="of these layers in the other plan, by its curves")]
    loss_change: Annotated[float | None, Field(description="other_loss − predicted_loss; null where the curves are not the same")]


class FieldChange(Schema):
    """A fact of both plans that differs."""

    field: Annotated[str, Field(description="path of the field in the plan's document", examples=["request.pins"])]
    value: Annotated[Any, Field(description="in the plan")]
    other: Annotated[Any, Field(description="in the other plan")]


class PlanDiff(Schema):
    """From one plan to another: what changes, and what that changes."""

    plan: Annotated[ComparedPlan, Field(description="the plan")]
    other: Annotated[ComparedPlan, Field(description="the other plan")]
    same_curves: Annotated[
        bool,
        Field(description="made with the same losses: one model and probe setting, both with shrinkage or both without"),
    ]
    layers: Annotated[int, Field(description="layers that both plan")]
    changed: Annotated[list[LayerChange], Field(description="layers of another format, in model order")]
    groups: Annotated[list[GroupChange], Field(description="what these changes add up to")]
    kv_changed: Annotated[
        list[KVChange], Field(description="caches of another format, in model order, where both plans plan them")
    ] = []
    limits: Annotated[list[LimitChange], Field(description="limits of either plan, those of the plan first")] = []
    only_in_plan: Annotated[list[str], Field(description="layers that the other plan leaves unquantized")]
    only_in_other: Annotated[list[str], Field(description="layers that the plan leaves unquantized")]
    bits_change: Annotated[int, Field(description="stored bits of the planned layers, other minus plan")]
    file_bytes_change: Annotated[int, Field(description="bytes of the files of weights, other minus plan")]
    resident_bytes_change: Annotated[
        int, Field(description="file, KV cache and workspace as each plan was asked for, other minus plan")
    ]
    loss_change: Annotated[
        float | None, Field(description="predicted loss, other minus plan; null where the curves are not the same")
    ]
    facts: Annotated[list[FieldChange], Field(description="what was asked otherwise, and what else the plans stand on")]
    notes: Annotated[list[str], Field(description="what keeps the two from being compared in full")]
