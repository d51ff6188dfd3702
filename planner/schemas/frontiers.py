"""Requests and documents of frontiers."""

from typing import Annotated

from pydantic import Field

from planner.schemas.base import Schema
from planner.schemas.plans import Provenance, Question


class FrontierRequest(Question):
    """Plans of every size at once."""

    points: Annotated[int, Field(ge=2, le=1000, description="budgets, evenly spaced from the smallest to the largest plan")] = 100
    proven: Annotated[
        bool, Field(description="solve every budget to its proven optimum; slower, and only the last per mille of the loss")
    ] = False
    context: Annotated[int, Field(ge=0, le=2**31, description="tokens in the KV cache of one sequence")] = 0
    batch: Annotated[int, Field(ge=1, le=2**20, description="sequences served at once")] = 1
    workspace_bytes: Annotated[int, Field(ge=0, le=2**60, description="bytes left free for activations")] = 0


class FrontierPoint(Schema):
    """The best plan that was found under one budget, and how much better any other could be."""

    budget_layer_bits: Annotated[int, Field(description="the budget in bits for the planned layers, and for planned caches")]
    layer_bits: Annotated[int, Field(description="stored bits of the planned layers")]
    effective_bits: Annotated[float, Field(description="layer_bits ÷ weights of the planned layers")]
    file_bytes: Annotated[int, Field(description="bytes of the files of weights")]
    kv_bytes: Annotated[int, Field(description="KV cache at the asked context and batch: in its formats where it is planned")] = 0
    resident_bytes: Annotated[int, Field(description="all tensors + KV cache + workspace")]
    predicted_loss: Annotated[float, Field(description="sum of the losses of all layer groups and planned caches, by the curves")]
    standard_error: Annotated[float, Field(description="of predicted_loss, cells taken as independent")]
    lower_bound: Annotated[float, Field(description="no plan within this budget has a smaller predicted loss")]
    gap: Annotated[
        float | None, Field(description="(loss − lower_bound) / |loss|; null where the loss is 0 and the bound is not")
    ]
    price_per_megabyte: Annotated[float, Field(description="loss that one more megabyte (10^6 bytes) would buy, at the margin")]


class UniformPoint(Schema):
    """One format for every layer, and one for every cache where caches are planned."""

    format: Annotated[str, Field(description="candidate format")]
    kv_format: Annotated[
        str | None, Field(description="format of every cache, without the tensor; null where caches are not planned")
    ] = None
    effective_bits: Annotated[float, Field(description="layer_bits ÷ weights of the planned layers")]
    file_bytes: Annotated[int, Field(description="bytes of the files of weights")]
    resident_bytes: Annotated[int, Field(description="all tensors + KV cache + workspace")]
    predicted_loss: Annotated[float, Field(description="sum of the losses of all layer groups, by the curves")]


class FrontierDocument(Schema):
    """Size against predicted loss, with a lower bound at every budget."""

    model: Annotated[str, Field(description="id of the model")]
    model_name: Annotated[str, Field(description="its name")]
    runtime: Annotated[str, Field(description="engine that would serve the plans")]
    formats: Annotated[list[str], Field(description="candidate formats that the plans choose from")]
    probe: Annotated[str, Field(description="whose curves say so")]
    unit: Annotated[str, Field(description="'nats/token' or 'relative'")]
    points: Annotated[list[FrontierPoint], Field(description="by size, smallest first; loss never rises")]
    knee: Annotated[int, Field(description="index of the point farthest below the chord of log loss over size: where it bends")]
    uniforms: Annotated[list[UniformPoint], Field(description="formats that every layer group may take")]
    notes: Annotated[list[str], Field(description="what is worth knowing about the curves")]
    solve_seconds: Annotated[float, Field(description="time of the solver alone, for all points")]
    provenance: Annotated[Provenance, Field(description="what the points stand on")]
    shrunk: Annotated[
        bool, Field(description="losses are expected ones, freed of the luck of their measurement; else as measured")
    ] = False
