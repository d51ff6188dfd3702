"""Requests and documents of choosing among models under one byte budget."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from planner.schemas.base import Reference, Schema
from planner.schemas.plans import FormatName, Selection


class FamilyRequest(Selection):
    """Several registered models, usually the sizes of one family; rules hold in each of them."""

    models: Annotated[
        list[Reference], Field(min_length=2, max_length=20, description="ids or names of models that were measured and evaluated")
    ]
    limit: Annotated[
        Literal["file_bytes", "resident_bytes"],
        Field(description="what the byte budget limits: all tensors, or these with KV cache and workspace"),
    ] = "resident_bytes"
    context: Annotated[int, Field(ge=0, le=2**31, description="tokens in the KV cache of one sequence")] = 0
    batch: Annotated[int, Field(ge=1, le=2**20, description="sequences served at once")] = 1
    workspace_bytes: Annotated[int, Field(ge=0, le=2**60, description="bytes left free for activations")] = 0
    points: Annotated[
        int,
        Field(ge=2, le=500, description="budgets, evenly spaced from the smallest plan of any model to the largest useful one"),
    ] = 50
    formats: Annotated[
        list[FormatName] | None,
        Field(
            min_length=1, max_length=200, description="candidate formats; by default every format that a model was measured in"
        ),
    ] = None
    probe: Annotated[
        str | None, Field(max_length=60, description="whose curves to plan with; by default the most trusted one of each model")
    ] = None
    rounding: Annotated[
        str | None,
        Field(min_length=1, max_length=60, description="only curves of weights rounded by this method; by default by any"),
    ] = None
    shrinkage: Annotated[
        bool, Field(description="plan with expected losses where the probe's errors allow it; false: with the cells as measured")
    ] = True
    text: Annotated[
        Reference | None,
        Field(
            description="calibration set whose held-out text all models were evaluated on; by default the last that all have in "
            "common"
        ),
    ] = None
    same_tokenizer: Annotated[
        bool, Field(description="models with vocabularies of different sizes cut text alike all the same (padded embeddings)")
    ] = False
    deadline_seconds: Annotated[
        float, Field(gt=0, le=60, description="after this what is found so far is answered, crossings within their brackets")
    ] = 20.0

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.models)) < len(self.models):
            msg = "a model is named twice: name each one once"
            raise ValueError(msg)
        if self.limit == "file_bytes" and (self.context or self.workspace_bytes or self.batch != 1):
            msg = "context, batch and workspace_bytes belong to a limit of resident_bytes"
            raise ValueError(msg)
        return self


class FamilyPoint(Schema):
    """The best plan of one model under one budget."""

    budget_bytes: Annotated[int, Field(description="the budget")]
    bytes: Annotated[int, Field(description="what the plan takes of it")]
    effective_bits: Annotated[float, Field(description="stored bits of the planned layers ÷ their weights")]
    predicted_loss: Annotated[float, Field(description="KL to the model's own reference by its curves, nats per token")]
    standard_error: Annotated[float, Field(description="of predicted_loss, cells taken as independent")]
    predicted_nll: Annotated[
        float, Field(description="reference NLL + predicted KL, nats per token: what models are compared by; see notes")
    ]
    nll_error: Annotated[
        float | None,
        Field(description="standard error of predicted_nll, of this model alone; null where the reference's is unknown"),
    ]
    gap: Annotated[
        float | None,
        Field(description="(loss − lower bound) / |loss|; 0 is proven; null where the loss is 0 and the bound is not"),
    ]


class FamilyMeasured(Schema):
    """A plan of the model that was evaluated on the same text: how far predictions hold."""

    label: Annotated[str, Field(description="'plan' or 'uniform INT4_G64'")]
    plan: Annotated[str | None, Field(description="id of the plan")]
    effective_bits: Annotated[float, Field(description="stored bits of the planned layers ÷ their weights")]
    kl: Annotated[float, Field(description="measured KL, nats per token")]
    nll: Annotated[float, Field(description="measured NLL, nats per token")]
    nll_increase: Annotated[float, Field(description="measured NLL − reference NLL: what the KL stands for")]


class FamilyModel(Schema):
    """One model of the family."""

    model: Annotated[str, Field(description="id of the model")]
    model_name: Annotated[str, Field(description="its name")]
    parameters: Annotated[int, Field(description="all its parameters")]
    probe: Annotated[str, Field(description="whose curves")]
    setting: Annotated[str, Field(description="id of the probe setting")]
    formats: Annotated[list[str], Field(description="candidate formats")]
    reference_nll: Annotated[float, Field(description="of the unquantized model on the text, nats per token")]
    reference_nll_error: Annotated[float | None, Field(description="over sequences; null when one sequence cannot tell")]
    reference_job: Annotated[str, Field(description="id of the evaluation job that measured it")]
    smallest_bytes: Annotated[int, Field(description="no plan of the model is smaller")]
    points: Annotated[list[FamilyPoint], Field(description="by budget; budgets below smallest_bytes have none")]
    measured: Annotated[list[FamilyMeasured], Field(description="evaluations on the same text, newest first")]


class EnvelopePoint(FamilyPoint):
    """The best model under one budget, with its plan."""

    model: Annotated[int, Field(description="index in models")]


class FamilySide(Schema):
    """A model at a crossing."""

    model: Annotated[int, Field(description="index in models")]
    model_name: Annotated[str, Field(description="its name")]
    effective_bits: Annotated[float | None, Field(description="of its best plan there; null where none fits yet")]
    predicted_nll: Annotated[float | None, Field(description="of the same plan")]


class Crossing(Schema):
    """A budget from which on another model is the better one."""

    budget_bytes: Annotated[int, Field(description="from this budget on, until the next crossing, `better` is better")]
    above_bytes: Annotated[
        int, Field(description="at this budget `worse` is still better: one byte less, unless the deadline came first")
    ]
    worse: Annotated[FamilySide, Field(description="the better one below")]
    better: Annotated[FamilySide, Field(description="the better one from here on")]
    advice: Annotated[str, Field(description="the same in words")]


class FamilyDocument(Schema):
    """The frontiers of several models on one yardstick, their lower envelope, and where it changes models."""

    limit: Annotated[Literal["file_bytes", "resident_bytes"], Field(description="what the budgets limit")]
    runtime: Annotated[str, Field(description="engine that would serve the plans")]
    text: Annotated[str, Field(description="id of the calibration set whose held-out text is the yardstick")]
    models: Annotated[list[FamilyModel], Field(description="in the order of the request")]
    envelope: Annotated[list[EnvelopePoint], Field(description="the best model at each budget, smallest budget first")]
    crossings: Annotated[list[Crossing], Field(description="where the best model changes, smallest budget first")]
    notes: Annotated[list[str], Field(description="what the comparison stands on")]
