"""Requests and documents of planning, as REST and `--json` show them."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from planner.budget import Budget, BudgetKind
from planner.errors import InvalidRequestError
from planner.schemas.base import Schema
from planner.schemas.caveats import Confidence, Correction, MenuLimit
from planner.schemas.choices import Choice, GroupChoice, KVChoice, PoolPart
from planner.schemas.cross_terms import CrossTermsDocument
from planner.schemas.proofs import DeviceUsed, KeptLimit, Proof, StepDocument
from planner.schemas.sizes import Size

FormatName = Annotated[str, Field(min_length=1, max_length=60, examples=["INT4_G64"])]
Pattern = Annotated[str, Field(min_length=1, max_length=300, examples=["*.down_proj"])]
KVFormatName = Annotated[str, Field(min_length=1, max_length=60, examples=["INT8", "K_INT4_CHANNEL"])]
PoolName = Annotated[str, Field(min_length=1, max_length=40, examples=["vram"])]
PoolBytes = Annotated[int, Field(gt=0, le=2**60)]
Bits = Annotated[int, Field(ge=1, le=32)]
_LIMITS = tuple((kind, kind.value) for kind in BudgetKind)
STEP_ERRORS = 2.0
"""Standard errors that a change has to be better by. With none, changes are chosen for their luck, and what many of them do
together undoes the gain. `make sensitivity-report` measures steps with two; one and none are from a one-off script (ADR 15)."""


class BudgetSpec(Schema):
    """One limit or several that the plan keeps together, or the loss that the smallest plan may have."""

    effective_bits: Annotated[float | None, Field(gt=0, le=64, description="stored bits per planned weight")] = None
    file_bytes: Annotated[
        int | None,
        Field(
            gt=0, le=2**60, description="bytes of the files of weights as they are written: tensors, headers, index, tokenizer"
        ),
    ] = None
    resident_bytes: Annotated[
        int | None, Field(gt=0, le=2**60, description="bytes of all tensors + KV cache at context × batch + workspace")
    ] = None
    decode_seconds: Annotated[
        float | None,
        Field(gt=0, le=1e6, description="seconds to decode one token of each sequence at this context, on the device"),
    ] = None
    prefill_seconds: Annotated[
        float | None,
        Field(gt=0, le=1e6, description="seconds to read a prompt of context tokens of each sequence, on the device"),
    ] = None
    bit_operations: Annotated[
        int | None,
        Field(
            gt=0,
            le=2**60,
            description="Σ multiplications of a token × bits of the weight × 16 bits of the activation (BOPs), of planned layers",
        ),
    ] = None
    pool_bytes: Annotated[
        dict[PoolName, PoolBytes] | None,
        Field(
            min_length=1,
            max_length=8,
            description="bytes that the model may take of memory pools of the device (vram, ram): the plan says what lies where, "
            "what is not planned in the device's first pool",
        ),
    ] = None
    max_loss: Annotated[
        float | None,
        Field(
            gt=0,
            le=1e9,
            description="the inverse question: the smallest plan that is predicted to lose no more, under the other limits",
        ),
    ] = None
    device: Annotated[
        str | None, Field(min_length=1, max_length=100, description="name of the device whose seconds or pools are limited")
    ] = None
    context: Annotated[
        int, Field(ge=0, le=2**31, description="tokens in the KV cache of one sequence; of a prefill, tokens of its prompt")
    ] = 0
    batch: Annotated[int, Field(ge=1, le=2**20, description="sequences served at once")] = 1
    workspace_bytes: Annotated[int, Field(ge=0, le=2**60, description="bytes left free for activations")] = 0

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        given = self.given
        if not given:
            msg = f"give one of {', '.join(BudgetKind)}, or several"
            raise ValueError(msg)
        if self.workspace_bytes and self.resident_bytes is None and self.pool_bytes is None:
            msg = "workspace_bytes belongs to a budget of resident_bytes or pool_bytes"
            raise ValueError(msg)
        if (self.context or self.batch != 1) and not any(kind.depends_on_context for kind in given):
            msg = "context and batch belong to resident_bytes, pool_bytes, decode_seconds, prefill_seconds or max_loss"
            raise ValueError(msg)
        if any(kind.needs_device for kind in given) != (self.device is not None):
            msg = "decode_seconds, prefill_seconds and pool_bytes need a device, and a device needs one of them"
            raise ValueError(msg)
        if self.prefill_seconds is not None and not self.context:
            msg = "prefill_seconds needs the context: how many tokens of a prompt are read"
            raise ValueError(msg)
        return self

    @property
    def given(self) -> list[BudgetKind]:
        """The kinds of limits that are given, in their order."""
        return [kind for kind, name in _LIMITS if getattr(self, name) is not None]

    @property
    def first(self) -> Budget:
        """The first limit: what lists and filters know a plan by."""
        return self._of_kind(self.given[0])[0]

    def budgets(self) -> list[Budget]:
        """The upper limits, without the greatest loss of an inverse question."""
        return [budget for kind in self.given if kind is not BudgetKind.MAX_LOSS for budget in self._of_kind(kind)]

    def budget(self) -> Budget:
        """The only limit, one of stored bits.

        Raises:
            InvalidRequestError: several limits, or one of something else.
        """
        if len(self.given) > 1 or not self.given[0].counts_bits:
            msg = f"this works under one limit of bits or bytes, not under {', '.join(self.given)}"
            raise InvalidRequestError(msg)
        return self.first

    def _of_kind(self, kind: BudgetKind) -> list[Budget]:
        served, given = kind.depends_on_context, getattr(self, kind.value)
        values: dict[str | None, float] = given if isinstance(given, dict) else {None: given}
        return [
            Budget(
                kind=kind,
                value=value,
                context=self.context if served else 0,
                batch=self.batch if served else 1,
                workspace_bytes=self.workspace_bytes if kind in (BudgetKind.RESIDENT_BYTES, BudgetKind.POOL_BYTES) else 0,
                device=self.device if kind.needs_device else None,
                pool=pool,
            )
            for pool, value in values.items()
        ]


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
    kv_formats: Annotated[
        list[KVFormatName] | None,
        Field(
            min_length=1,
            max_length=50,
            description="plan the K and V caches too, in these formats: INT8 for both, K_INT4 or V_INT4_G32 for one, measured "
            "for every one with cells; by default the cache is 16 bits an element and not planned",
        ),
    ] = None
    kv_setting: Annotated[
        str | None,
        Field(
            max_length=64,
            description="with kv_formats: id of the probe setting of the caches' cells; by default the freshest, of the weights' "
            "own text if there is one",
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

    @model_validator(mode="after")
    def _caches_have_formats(self) -> Self:
        if self.kv_setting is not None and self.kv_formats is None:
            msg = "kv_setting belongs to kv_formats: whose cells the caches are planned with"
            raise ValueError(msg)
        return self


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


class Reference(Schema):
    """A baseline under the same limits; of an inverse question the smallest one that loses no more than asked for."""

    label: Annotated[str, Field(description="'uniform INT4_G64', or 'uniform' where no single format fits")]
    format: Annotated[str | None, Field(description="candidate format of every layer; null where none fits")]
    loss: Annotated[float | None, Field(description="predicted loss; null where none fits")]
    size: Annotated[Size | None, Field(description="exact sizes; null where none fits")]
    keeps_counts: Annotated[bool, Field(description="it would keep the counts of the request too")] = True
    kv_formats: Annotated[
        dict[str, str] | None, Field(description="format of all keys (K) and all values (V); null where caches are not planned")
    ] = None
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
    kv_setting: Annotated[
        str | None, Field(description="id of the probe setting of the caches' cells; null where caches are not planned")
    ] = None
    device: Annotated[DeviceUsed | None, Field(description="whose seconds were limited")] = None


class AlternativePlan(Schema):
    """A next-best plan within the same budget, counts and rules."""

    predicted_loss: Annotated[float, Field(description="what the curves say that it costs")]
    standard_error: Annotated[float, Field(description="of predicted_loss, cells taken as independent")]
    objective: Annotated[float, Field(description="loss + caution × standard error: what they are ordered by")]
    effective_bits: Annotated[float, Field(description="stored bits of the planned layers ÷ their weights")]
    file_bytes: Annotated[int, Field(description="bytes of the files of weights")]
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
    file_bytes: Annotated[int, Field(description="bytes of the files of weights")]
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
        str | None,
        Field(
            description="the limits that stop the plan from getting better, if any, comma-separated; 'counts' where only they do"
        ),
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
    limits: Annotated[
        list[KeptLimit], Field(description="the limits of the request; empty in plans of earlier versions, which have one")
    ] = []
    kv: Annotated[
        list[KVChoice], Field(description="format of every K and V cache, in model order; empty where caches are not planned")
    ] = []
    kv_groups: Annotated[list[GroupChoice], Field(description="format of every group of caches, and why")] = []
    kv_formats: Annotated[
        list[str],
        Field(
            description="formats that the caches chose from, in the words of the request, measured ones by their names; empty "
            "where caches are not planned, and in plans of earlier versions"
        ),
    ] = []
    placement: Annotated[
        list[PoolPart], Field(description="what lies in which memory pool; empty where no pools are limited")
    ] = []

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
