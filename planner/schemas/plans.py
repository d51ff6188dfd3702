"""Requests and documents of planning, as REST and `--json` show them."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from planner.budget import Budget, BudgetKind
from planner.schemas.base import Schema
from planner.schemas.caveats import Confidence, Correction, MenuLimit
from planner.schemas.cross_terms import CrossTermsDocument

FormatName = Annotated[str, Field(min_length=1, max_length=60, examples=["INT4_G64"])]
Pattern = Annotated[str, Field(min_length=1, max_length=300, examples=["*.down_proj"])]
Bits = Annotated[int, Field(ge=1, le=32)]
STEP_ERRORS = 2.0
"""Standard errors that a change has to be better by. With none, changes are chosen for their luck, and what many of them do
together undoes the gain. `make sensitivity-report` measures steps with two; one and none are from a one-off script (ADR 15)."""


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
    experts: Annotated[
        Literal["free", "block", "projection"] | Annotated[int, Field(ge=1, le=100_000)],
        Field(
            description="which routed experts of a block share a format, beside what the runtime ties: none, all, those of each "
            "projection, or so many groups of experts by the rank of their sensitivity"
        ),
    ] = "free"


class Question(Selection):
    """Which curves to plan with."""

    model: Annotated[str, Field(min_length=1, max_length=200, description="model id, or its name")]
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
    rounding: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=60,
            description="only curves of weights rounded by this method (rtn, gptq, …); by default by any",
        ),
    ] = None
    step_errors: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            description="with a setting of changes around a plan: standard errors that a change has to be better by",
        ),
    ] = STEP_ERRORS
    shrinkage: Annotated[
        bool,
        Field(
            description="plan with expected losses, freed of the luck of their measurement, where the probe's errors allow it; "
            "false plans with the cells as measured"
        ),
    ] = True


class CountSpec(Schema):
    """How many layers may or must take some formats; tied layers count one by one."""

    pattern: Annotated[Pattern, Field(description="which layers are counted")] = "*"
    above_bits: Annotated[Bits | None, Field(description="count layers in formats of more num_bits than this")] = None
    formats: Annotated[
        list[FormatName] | None, Field(min_length=1, max_length=200, description="count layers in one of these formats")
    ] = None
    at_most: Annotated[int | None, Field(ge=0, le=2**31, description="no more layers than this")] = None
    at_least: Annotated[int | None, Field(ge=0, le=2**31, description="no fewer layers than this")] = None

    @model_validator(mode="after")
    def _says_what_and_how_many(self) -> Self:
        if (self.above_bits is None) == (self.formats is None):
            msg = "a count needs either above_bits or formats: what it counts"
            raise ValueError(msg)
        if self.at_most is None and self.at_least is None:
            msg = "a count needs at_most, at_least or both: its limit"
            raise ValueError(msg)
        if self.at_most is not None and self.at_least is not None and self.at_least > self.at_most:
            msg = f"no number is at least {self.at_least} and at most {self.at_most}"
            raise ValueError(msg)
        return self


class PlanRequest(Question):
    """What to plan."""

    budget: Annotated[BudgetSpec, Field(description="upper limit that the plan keeps")]
    deadline_seconds: Annotated[
        float, Field(gt=0, le=60, description="after this the best plan so far is returned with its gap")
    ] = 5.0
    allow_slack: Annotated[
        bool, Field(description="accept a budget that is larger than the largest plan, instead of an error")
    ] = False
    counts: Annotated[
        list[CountSpec], Field(max_length=20, description="at most or at least so many layers in some formats")
    ] = []
    caution: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            description="κ: plan for the least loss + κ × its standard error, cells taken as independent; 0 for the loss alone",
        ),
    ] = 0.0
    alternatives: Annotated[int, Field(ge=0, le=10, description="how many next-best plans to summarise beside it")] = 0
    alternative_layers: Annotated[
        int | None,
        Field(
            ge=1,
            le=2**31,
            description="in how many layers alternatives differ from the plan and each other; by default a tenth of the layers",
        ),
    ] = None


class BoundsRequest(Selection):
    """Which plan sizes are possible."""

    formats: Annotated[list[FormatName], Field(min_length=1, max_length=200, description="candidate formats")]
    context: Annotated[int, Field(ge=0, le=2**31, description="tokens in the KV cache of one sequence")] = 0
    batch: Annotated[int, Field(ge=1, le=2**20, description="sequences served at once")] = 1


class Size(Schema):
    """Exact sizes of an assignment."""

    layer_bits: Annotated[int, Field(description="stored bits of the planned layers, with scales, zero points, padding")]
    effective_bits: Annotated[float, Field(description="layer_bits ÷ weights of the planned layers")]
    file_bytes: Annotated[int, Field(description="all tensors: planned layers, ignored layers, unquantized tensors")]
    kv_bytes: Annotated[int, Field(description="KV cache at the asked context and batch, 16 bits an element")]
    resident_bytes: Annotated[int, Field(description="file_bytes + kv_bytes + workspace")]


class Bounds(Schema):
    """Smallest and largest plan, before any measuring."""

    model: Annotated[str, Field(description="id of the model")]
    runtime: Annotated[str, Field(description="engine that would serve the plan")]
    formats: Annotated[list[str], Field(description="candidate formats")]
    layers: Annotated[int, Field(description="planned layers")]
    groups: Annotated[int, Field(description="layer groups: layers that must share a format count once")]
    smallest: Annotated[Size, Field(description="every layer group in its smallest format")]
    largest: Annotated[Size, Field(description="every layer group in its largest format")]


class NextFormat(Schema):
    """The next larger format of a layer group and what it would buy."""

    format: Annotated[str, Field(description="candidate format")]
    more_bits: Annotated[int, Field(description="stored bits that it takes beyond the chosen one")]
    loss_change: Annotated[float, Field(description="predicted loss there minus here; negative where it helps")]


class Choice(Schema):
    """What the plan gives one layer."""

    layer: Annotated[str, Field(description="name of the layer")]
    kind: Annotated[str, Field(description="its kind: q_proj, down_proj, …")]
    block: Annotated[int | None, Field(description="its transformer block; null outside of the blocks")]
    group: Annotated[int, Field(description="layers of one group share their format")]
    format: Annotated[str, Field(description="candidate format that it is stored in")]
    size_bits: Annotated[int, Field(description="exact stored bits, with scales, zero points and padding")]


class GroupChoice(Schema):
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


class StepDocument(Schema):
    """A plan that was made by a short step away from another one that changes were measured around."""

    layers: Annotated[int, Field(description="layers whose format is another than there")]
    change: Annotated[float, Field(description="measured sum of these changes; negative where the plan is better")]
    from_loss: Annotated[float, Field(description="loss of the other plan, measured on the text of the changes")]
    from_error: Annotated[float | None, Field(description="its standard error over sequences")]
    errors: Annotated[
        float, Field(description="standard errors of each change that the predicted loss holds above from_loss + change")
    ]


class Prediction(Schema):
    """What the curves that the plan was made with say it costs. Not a measurement."""

    loss: Annotated[
        float, Field(description="losses of all layer groups, summed: expected ones with shrinkage, else as measured")
    ]
    standard_error: Annotated[float, Field(description="cells taken as independent")]
    unit: Annotated[str, Field(description="'nats/token' or 'relative'")]
    probe: Annotated[str, Field(description="whose curves say so")]
    step: Annotated[StepDocument | None, Field(description="null for a plan that was not made around another")] = None
    cross_terms: Annotated[
        CrossTermsDocument | None, Field(description="what the layers cost together; null where no score products are stored")
    ] = None


class KeptCount(Schema):
    """A count, what the plan makes of it, and what it costs."""

    what: Annotated[str, Field(description="what is counted: 'layers above 6 bits'")]
    layers: Annotated[int, Field(description="layers of the plan that are counted")]
    at_most: Annotated[int | None, Field(description="no more than this")]
    at_least: Annotated[int | None, Field(description="no fewer than this")]
    at_most_multiplier: Annotated[float, Field(description="μ of the bound: loss per layer that at_most keeps from the formats")]
    at_least_multiplier: Annotated[float, Field(description="ν of the bound: loss per layer that at_least forces into them")]


class Proof(Schema):
    """How good the plan is among all plans of this problem."""

    status: Annotated[str, Field(description="outcome of the solver")]
    advice: Annotated[str, Field(description="what the status means and what to do about it")]
    lower_bound: Annotated[float, Field(description="no plan within this budget (and these counts) has a smaller objective")]
    gap: Annotated[float, Field(description="(objective − lower_bound) / |objective|")]
    multiplier: Annotated[float, Field(description="λ of the Lagrangian bound: loss per stored bit")]
    lagrangian_bound: Annotated[
        float,
        Field(
            description="recompute it from the curves (with shrinkage the expected ones: curves?expected=true): "
            "Σ min(loss + λ·size) − λ·budget; with counts n of each group and format "
            "+ (μ−ν)·n inside and − μ·at_most + ν·at_least outside; with caution + caution·standard_error·direction inside"
        ),
    ]
    budget_layer_bits: Annotated[int, Field(description="the budget in bits for the planned layers")]
    slack_bits: Annotated[int, Field(description="bits of the budget that the plan leaves")]
    solver: Annotated[str, Field(description="which solver found it")]
    solve_seconds: Annotated[float, Field(description="time of the solver alone")]
    caution: Annotated[
        float, Field(description="the objective is loss + caution × standard_error: what lower_bound and gap are about")
    ] = 0.0
    objective: Annotated[float | None, Field(description="of the plan; null stands for the predicted loss")] = None
    direction: Annotated[
        dict[int, dict[str, float]],
        Field(
            description="u of the bound, group → format → number, with Σu² ≤ 1, so that Σ u·standard_error is no more than the "
            "plan's standard error; 0 where absent"
        ),
    ] = {}
    counts: Annotated[list[KeptCount], Field(description="the counts of the request, in order")] = []


class Reference(Schema):
    """A baseline under the same budget."""

    label: Annotated[str, Field(description="'uniform INT4_G64', or 'uniform' where no single format fits")]
    format: Annotated[str | None, Field(description="candidate format of every layer; null where none fits")]
    loss: Annotated[float | None, Field(description="predicted loss; null where none fits")]
    size: Annotated[Size | None, Field(description="exact sizes; null where none fits")]
    keeps_counts: Annotated[bool, Field(description="it would keep the counts of the request too")] = True
    corrected_loss: Annotated[float | None, Field(description="expected loss, where the plan's is corrected")] = None


class Provenance(Schema):
    """What the plan stands on."""

    fingerprint: Annotated[str, Field(description="SHA-256 of the checkpoint: the model's id")]
    setting: Annotated[str, Field(description="id of the probe setting")]
    probe: Annotated[str, Field(description="measurement procedure")]
    probe_version: Annotated[int, Field(description="of the probe's code")]
    probe_parameters: Annotated[
        dict[str, float | int | str | bool | None], Field(description="hyper-parameters, seed included where the probe draws")
    ]
    rounding: Annotated[str, Field(description="rounding method")]
    calibration: Annotated[str | None, Field(description="id of the calibration set; null for a probe without data")]
    bitplan: Annotated[str, Field(description="version of bitplan that planned")]


class AlternativePlan(Schema):
    """A next-best plan within the same budget, counts and rules."""

    predicted_loss: Annotated[float, Field(description="what the curves say that it costs")]
    standard_error: Annotated[float, Field(description="of predicted_loss, cells taken as independent")]
    objective: Annotated[float, Field(description="loss + caution × standard error: what they are ordered by")]
    effective_bits: Annotated[float, Field(description="stored bits of the planned layers ÷ their weights")]
    file_bytes: Annotated[int, Field(description="bytes of all tensors")]
    layers: Annotated[int, Field(description="layers whose format is another than the plan's")]
    changes: Annotated[dict[str, str], Field(description="these layers and their formats")]
    status: Annotated[str, Field(description="outcome of the solver")]
    gap: Annotated[float, Field(description="above the lower bound of what differs as much; 0 is proven best of these")]


class PlanSummary(Schema):
    """A stored plan in a list."""

    id: Annotated[str, Field(description="id of the plan")]
    model: Annotated[str, Field(description="id of the model")]
    runtime: Annotated[str, Field(description="engine that will serve the plan")]
    probe: Annotated[str, Field(description="whose curves it was planned with")]
    rounding: Annotated[str, Field(description="rounding method of these curves")]
    budget: Annotated[BudgetSpec, Field(description="upper limit that the plan keeps")]
    status: Annotated[str, Field(description="outcome of the solver")]
    effective_bits: Annotated[float, Field(description="stored bits of the planned layers ÷ their weights")]
    file_bytes: Annotated[int, Field(description="bytes of all tensors")]
    predicted_loss: Annotated[float, Field(description="what the curves say the plan costs, in the probe's unit")]
    gap: Annotated[float, Field(description="(loss − lower bound) / |loss|; 0 is proven optimal")]
    created_at: Annotated[datetime, Field(description="when it was made")]


class PlanDocument(Schema):
    """A plan: immutable, with its proof and its provenance."""

    id: Annotated[str, Field(description="id of the plan")]
    created_at: Annotated[datetime, Field(description="when it was made")]
    model: Annotated[str, Field(description="id of the model")]
    model_name: Annotated[str, Field(description="what the model was called then")]
    runtime: Annotated[str, Field(description="engine that will serve the plan")]
    formats: Annotated[list[str], Field(description="candidate formats that the plan chose from")]
    budget: Annotated[BudgetSpec, Field(description="upper limit that the plan keeps")]
    size: Annotated[Size, Field(description="exact sizes of the plan")]
    predicted: Annotated[Prediction, Field(description="what the curves say the plan costs")]
    proof: Annotated[Proof, Field(description="how good it is among all plans of this problem")]
    binding: Annotated[
        str | None, Field(description="the budget that stops the plan from getting better, if any; 'counts' where only they do")
    ]
    price_per_megabyte: Annotated[float, Field(description="loss that one more megabyte (10^6 bytes) would buy, at the margin")]
    references: Annotated[list[Reference], Field(description="baselines under the same budget")]
    choices: Annotated[list[Choice], Field(description="format of every planned layer, in model order")]
    groups: Annotated[list[GroupChoice], Field(description="format of every layer group, and why")]
    ignored: Annotated[list[str], Field(description="layers left unquantized")]
    notes: Annotated[list[str], Field(description="what is worth knowing about the curves")]
    provenance: Annotated[Provenance, Field(description="what the plan stands on")]
    request: Annotated[PlanRequest, Field(description="what was asked for")]
    alternatives: Annotated[list[AlternativePlan], Field(description="next-best plans, the best first")] = []
    corrected: Annotated[
        Correction | None,
        Field(description="what the chosen cells are expected to cost; null where their errors are unknown or not independent"),
    ] = None
    menu_limit: Annotated[
        MenuLimit | None, Field(description="formats outside of the menu that would do better; null where none would")
    ] = None
    confidence: Annotated[
        Confidence | None, Field(description="how far losses of the layers may be added; null in plans of earlier versions")
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _as_it_was_made(cls, document: Any) -> Any:
        """Plans that were stored before there was shrinkage were made without."""
        if isinstance(document, dict) and isinstance(request := document.get("request"), dict):
            return document | {"request": {"shrinkage": False} | request}
        return document


class Measured(Schema):
    """A quantity with its standard error over sequences."""

    value: Annotated[float, Field(description="mean")]
    standard_error: Annotated[float | None, Field(description="over sequences; null when one sequence cannot tell")]


class Evaluation(Schema):
    """An assignment measured on held-out text."""

    label: Annotated[str, Field(description="'plan' or 'uniform INT4_G64'")]
    plan: Annotated[str | None, Field(description="id of the plan that it belongs to")]
    job: Annotated[str, Field(description="id of the job that measured it")]
    calibration: Annotated[str, Field(description="calibration set whose held-out part was used")]
    sequences: Annotated[int, Field(description="held-out sequences")]
    effective_bits: Annotated[float, Field(description="stored bits of the planned layers ÷ their weights")]
    size_bits: Annotated[int, Field(description="stored bits of the planned layers")]
    kl: Annotated[
        Measured, Field(description="KL(reference ‖ quantized) of the next token, mean per token, nats, full vocabulary")
    ]
    perplexity: Annotated[Measured, Field(description="exp(mean negative log-likelihood of the text)")]
    reference_perplexity: Annotated[Measured, Field(description="the unquantized model's perplexity on the same text")]
    top1_agreement: Annotated[Measured, Field(description="share of positions where both models prefer the same token")]
    router_flips: Annotated[
        Measured | None,
        Field(
            description="share of (token, router) pairs that are sent to another set of experts than in the reference; null for "
            "a model without routed experts"
        ),
    ] = None
    created_at: Annotated[datetime, Field(description="when it was stored")]


class EvaluateRequest(Schema):
    """Measure a stored plan on held-out text."""

    calibration: Annotated[
        str | None, Field(description="calibration set whose held-out part is used; by default that of the plan's curves")
    ] = None
    baselines: Annotated[
        list[Literal["uniform"]], Field(description="assignments under the same budget measured beside the plan")
    ] = ["uniform"]


class MeasureAroundRequest(Schema):
    """Measure what single changes of a stored plan would change."""

    calibration: Annotated[
        str | None, Field(max_length=64, description="calibration set to measure on; by default that of the plan's curves")
    ] = None
    draws: Annotated[int, Field(ge=1, le=64, description="label draws for each sequence")] = 1
    seed: Annotated[int, Field(ge=0, le=2**63 - 1, description="seed of the draws")] = 0
    force: Annotated[bool, Field(description="measure again what is measured already")] = False


class RefineRequest(Schema):
    """Make the next plan by a short step from a stored one."""

    step_errors: Annotated[float, Field(ge=0, le=100, description="standard errors that a change has to be better by")] = (
        STEP_ERRORS
    )
