"""Requests and documents of planning, as REST and `--json` show them."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from planner.budget import Budget, BudgetKind
from planner.schemas.base import Schema

FormatName = Annotated[str, Field(min_length=1, max_length=60, examples=["INT4_G64"])]
Pattern = Annotated[str, Field(min_length=1, max_length=300, examples=["*.down_proj"])]
Bits = Annotated[int, Field(ge=1, le=32)]


class BudgetSpec(Schema):
    """Exactly one limit."""

    effective_bits: Annotated[float | None, Field(gt=0, le=64, description="stored bits per planned weight")] = None
    file_bytes: Annotated[
        int | None, Field(gt=0, le=2**60, description="bytes of all tensors in the file, without its header")
    ] = None
    resident_bytes: Annotated[
        int | None, Field(gt=0, le=2**60, description="bytes of all tensors + KV cache at context × batch + workspace")
    ] = None
    context: Annotated[int, Field(ge=0, le=2**31, description="tokens in the KV cache of one sequence")] = 0
    batch: Annotated[int, Field(ge=1, le=2**20, description="sequences served at once")] = 1
    workspace_bytes: Annotated[int, Field(ge=0, le=2**60, description="bytes left free for activations")] = 0

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [kind for kind in BudgetKind if getattr(self, kind.value) is not None]
        if len(given) != 1:
            msg = f"give exactly one of {', '.join(BudgetKind)}; {len(given)} were given"
            raise ValueError(msg)
        if given[0] is not BudgetKind.RESIDENT_BYTES and (self.context or self.workspace_bytes or self.batch != 1):
            msg = "context, batch and workspace_bytes belong to a resident_bytes budget"
            raise ValueError(msg)
        return self

    def budget(self) -> Budget:
        """The domain value."""
        kind = next(kind for kind in BudgetKind if getattr(self, kind.value) is not None)
        return Budget(
            kind=kind,
            value=getattr(self, kind.value),
            context=self.context,
            batch=self.batch,
            workspace_bytes=self.workspace_bytes,
        )


class Selection(Schema):
    """Which formats each layer may take, and for which runtime; needs no measurement."""

    runtime: Annotated[str, Field(max_length=40, description="engine that will serve the plan")] = "generic"
    ignore: Annotated[
        list[Pattern] | None,
        Field(description="layers left unquantized, by pattern; by default what the runtime leaves (lm_head)"),
    ] = None
    pins: Annotated[dict[Pattern, FormatName], Field(description="pattern → the one format to use")] = {}
    floors: Annotated[dict[Pattern, Bits], Field(description="pattern → least num_bits")] = {}
    ceilings: Annotated[dict[Pattern, Bits], Field(description="pattern → greatest num_bits")] = {}
    menus: Annotated[dict[Pattern, list[FormatName]], Field(description="pattern → formats to choose from")] = {}


class PlanRequest(Selection):
    """What to plan."""

    model: Annotated[str, Field(min_length=1, max_length=200, description="model id, or its name")]
    budget: BudgetSpec
    formats: Annotated[
        list[FormatName] | None,
        Field(min_length=1, max_length=200, description="candidate formats; by default every format that was measured"),
    ] = None
    probe: Annotated[
        str | None,
        Field(max_length=60, description="whose curves to plan with; by default the most trusted one measured"),
    ] = None
    setting: Annotated[
        str | None, Field(max_length=64, description="id of one probe setting, when a probe was run in several ways")
    ] = None
    deadline_seconds: Annotated[
        float, Field(gt=0, le=60, description="after this the best plan so far is returned with its gap")
    ] = 5.0
    allow_slack: Annotated[
        bool, Field(description="accept a budget that is larger than the largest plan, instead of an error")
    ] = False


class BoundsRequest(Selection):
    """Which plan sizes are possible."""

    formats: Annotated[list[FormatName], Field(min_length=1, max_length=200)]
    context: Annotated[int, Field(ge=0, le=2**31)] = 0
    batch: Annotated[int, Field(ge=1, le=2**20)] = 1


class Size(Schema):
    """Exact sizes of an assignment."""

    layer_bits: Annotated[int, Field(description="stored bits of the planned layers, with scales, zero points, padding")]
    effective_bits: Annotated[float, Field(description="layer_bits ÷ weights of the planned layers")]
    file_bytes: Annotated[int, Field(description="all tensors: planned layers, ignored layers, unquantized tensors")]
    kv_bytes: Annotated[int, Field(description="KV cache at the asked context and batch, 16 bits an element")]
    resident_bytes: Annotated[int, Field(description="file_bytes + kv_bytes + workspace")]


class Bounds(Schema):
    """Smallest and largest plan, before any measuring."""

    model: str
    runtime: str
    formats: list[str]
    layers: Annotated[int, Field(description="planned layers")]
    groups: Annotated[int, Field(description="layer groups: layers that must share a format count once")]
    smallest: Size
    largest: Size


class NextFormat(Schema):
    """The next larger format of a layer group and what it would buy."""

    format: str
    more_bits: int
    loss_change: float


class Choice(Schema):
    """What the plan gives one layer."""

    layer: str
    kind: str
    block: int | None
    group: Annotated[int, Field(description="layers of one group share their format")]
    format: str
    size_bits: int


class GroupChoice(Schema):
    """What the plan gives one layer group, and why."""

    layers: list[str]
    format: str
    size_bits: int
    predicted_loss: float
    standard_error: float
    next_up: NextFormat | None
    fragile: Annotated[
        bool,
        Field(description="another format would win if the losses moved by one standard error, at this price of a bit"),
    ]


class Prediction(Schema):
    """What the curves say the plan costs. Not a measurement."""

    loss: float
    standard_error: Annotated[float, Field(description="cells taken as independent")]
    unit: Annotated[str, Field(description="'nats/token' or 'relative'")]
    probe: str


class Proof(Schema):
    """How good the plan is among all plans of this problem."""

    status: str
    advice: str
    lower_bound: float
    gap: Annotated[float, Field(description="(loss − lower_bound) / |loss|")]
    multiplier: Annotated[float, Field(description="λ of the Lagrangian bound: loss per stored bit")]
    lagrangian_bound: Annotated[float, Field(description="Σ min(loss + λ·size) − λ·budget: recompute it from the curves")]
    budget_layer_bits: Annotated[int, Field(description="the budget in bits for the planned layers")]
    slack_bits: Annotated[int, Field(description="bits of the budget that the plan leaves")]
    solver: str
    solve_seconds: float


class Reference(Schema):
    """A baseline under the same budget."""

    label: str
    format: str | None
    loss: float | None
    size: Size | None


class Provenance(Schema):
    """What the plan stands on."""

    fingerprint: str
    setting: str
    probe: str
    probe_version: int
    probe_parameters: dict[str, float | int | str | bool | None]
    rounding: str
    calibration: str | None
    bitplan: str


class PlanSummary(Schema):
    """A stored plan in a list."""

    id: str
    model: str
    runtime: str
    probe: str
    budget: BudgetSpec
    status: str
    effective_bits: float
    file_bytes: int
    predicted_loss: float
    gap: float
    created_at: datetime


class PlanDocument(Schema):
    """A plan: immutable, with its proof and its provenance."""

    id: str
    created_at: datetime
    model: str
    model_name: str
    runtime: str
    formats: list[str]
    budget: BudgetSpec
    size: Size
    predicted: Prediction
    proof: Proof
    binding: Annotated[str | None, Field(description="the budget that stops the plan from getting better, if any")]
    price_per_megabyte: Annotated[float, Field(description="loss that one more megabyte (10^6 bytes) would buy, at the margin")]
    references: list[Reference]
    choices: list[Choice]
    groups: list[GroupChoice]
    ignored: list[str]
    notes: list[str]
    provenance: Provenance
    request: PlanRequest


class Measured(Schema):
    """A quantity with its standard error over sequences."""

    value: float
    standard_error: float | None


class Evaluation(Schema):
    """An assignment measured on held-out text."""

    label: Annotated[str, Field(description="'plan', 'uniform INT4_G64', or 'reference'")]
    plan: str | None
    job: str
    calibration: str
    sequences: int
    effective_bits: float
    size_bits: int
    kl: Measured
    perplexity: Measured
    top1_agreement: Measured
    created_at: datetime


class EvaluateRequest(Schema):
    """Measure a stored plan on held-out text."""

    calibration: Annotated[
        str | None, Field(description="calibration set whose held-out part is used; by default that of the plan's curves")
    ] = None
    baselines: Annotated[
        list[Literal["uniform"]], Field(description="assignments under the same budget measured beside the plan")
    ] = ["uniform"]
