"""Requests and documents of split computing: the front of a model on one device, its back on another, a link between them."""

from typing import Annotated, Literal

from pydantic import Field

from planner.schemas.base import Reference, Schema
from planner.schemas.plans import Bits, FormatName, Pattern, Provenance


class SplitSide(Schema):
    """One of the two devices: its memory, and the engine that serves its part of the model."""

    device: Annotated[
        str,
        Field(min_length=1, max_length=100, description="name of the device; weights and caches lie in its first memory pool"),
    ]
    memory_bytes: Annotated[int, Field(gt=0, le=2**60, description="bytes that its part of the model may take")]
    workspace_bytes: Annotated[
        int, Field(ge=0, le=2**60, description="bytes of them left free for activations where it serves a part")
    ] = 0
    runtime: Annotated[str, Field(max_length=40, description="engine that serves its part")] = "generic"
    formats: Annotated[
        list[FormatName] | None,
        Field(min_length=1, max_length=200, description="its candidate formats; by default those of the request"),
    ] = None


class SplitLink(Schema):
    """What lies between the devices: used for every decoded token while both serve a part, else not at all."""

    bytes_per_second: Annotated[float, Field(ge=1, le=1e18, description="bandwidth")]
    latency_seconds: Annotated[
        float, Field(ge=0, le=1e5, description="of one token: activations there, and what was sampled back")
    ] = 0.0


class SplitRequest(Schema):
    """Where to cut a model, and which formats each side takes."""

    model: Annotated[Reference, Field(description="id or name of a measured model")]
    front: Annotated[SplitSide, Field(description="serves the embedding and the blocks before the split")]
    back: Annotated[SplitSide, Field(description="serves the blocks after the split, the final norm and the head")]
    link: Annotated[SplitLink, Field(description="between front and back")]
    decode_seconds: Annotated[
        float | None,
        Field(gt=0, le=1e6, description="most seconds to decode one token of each sequence: both sides, and the link"),
    ] = None
    context: Annotated[int, Field(ge=0, le=2**31, description="tokens in the KV cache of one sequence")] = 0
    batch: Annotated[int, Field(ge=1, le=2**20, description="sequences served at once")] = 1
    formats: Annotated[
        list[FormatName] | None,
        Field(min_length=1, max_length=200, description="candidate formats; by default every format that was measured"),
    ] = None
    probe: Annotated[
        str | None, Field(max_length=60, description="whose curves to plan with; by default the most trusted one measured")
    ] = None
    setting: Annotated[str | None, Field(max_length=64, description="id of one probe setting")] = None
    rounding: Annotated[
        str | None, Field(min_length=1, max_length=60, description="only curves of weights rounded by this method")
    ] = None
    shrinkage: Annotated[
        bool, Field(description="plan with expected losses where the probe's errors allow it; false: with the cells as measured")
    ] = True
    ignore: Annotated[
        list[Pattern] | None, Field(description="layers left unquantized, by pattern; by default what each side's runtime leaves")
    ] = None
    pins: Annotated[dict[Pattern, FormatName], Field(description="pattern → the one format to use, on either side")] = {}
    floors: Annotated[dict[Pattern, Bits], Field(description="pattern → least num_bits")] = {}
    ceilings: Annotated[dict[Pattern, Bits], Field(description="pattern → greatest num_bits")] = {}
    menus: Annotated[dict[Pattern, list[FormatName]], Field(description="pattern → formats to choose from")] = {}
    experts: Annotated[
        Literal["free", "block", "projection"] | Annotated[int, Field(ge=1, le=100_000)],
        Field(description="which routed experts of a block share a format, beside what the runtimes tie; as with plans"),
    ] = "free"
    deadline_seconds: Annotated[
        float, Field(gt=0, le=60, description="after this the best split so far is answered with its gap")
    ] = 20.0


class SplitPart(Schema):
    """What one device serves: everything, or nothing, or its side of the split."""

    device: Annotated[str, Field(description="name of the device")]
    digest: Annotated[str, Field(description="SHA-256 of its profile and its measured latencies now")]
    runtime: Annotated[str, Field(description="engine")]
    blocks: Annotated[int, Field(description="transformer blocks that lie here")]
    assignment: Annotated[dict[str, str], Field(description="planned layers and their formats, in model order")]
    unquantized: Annotated[list[str], Field(description="layers that lie here as they are")]
    layer_bits: Annotated[int, Field(description="stored bits of the planned layers")]
    effective_bits: Annotated[float, Field(description="layer_bits ÷ weights of the planned layers; 0 without any")]
    unquantized_bytes: Annotated[int, Field(description="bytes of what is not planned; no less than what really lies here")]
    kv_bytes: Annotated[int, Field(description="KV cache of its blocks at context × batch, 16 bits an element")]
    workspace_bytes: Annotated[int, Field(description="left free for activations")]
    used_bytes: Annotated[int, Field(description="all of them together")]
    memory_bytes: Annotated[int, Field(description="the limit of used_bytes")]
    seconds: Annotated[float, Field(description="to decode one token of each sequence here, without the link")]
    measured_layers: Annotated[
        int, Field(description="planned layers whose seconds were measured; the others' are the roofline's")
    ]


class SplitPlan(Schema):
    """The best split, with the formats of both sides."""

    split: Annotated[
        int, Field(description="blocks on the front: 0 when all is on the back, all of them when all is on the front")
    ]
    predicted_loss: Annotated[float, Field(description="sum over the planned layers of both sides")]
    standard_error: Annotated[float, Field(description="of predicted_loss, cells taken as independent")]
    front: Annotated[SplitPart, Field(description="what the front serves")]
    back: Annotated[SplitPart, Field(description="what the back serves")]
    link_bytes: Annotated[int, Field(description="activations that cross the link for one token of each sequence")]
    link_seconds: Annotated[float, Field(description="of one token of each sequence")]
    seconds: Annotated[float, Field(description="front, link and back one after another, for one token of each sequence")]


class SplitRow(Schema):
    """One split point of the scan."""

    split: Annotated[int, Field(description="blocks on the front")]
    status: Annotated[
        Literal["solved", "infeasible", "skipped", "undecided"],
        Field(
            description="solved: its best plan is known, within its bound; infeasible: no plan keeps the limits; skipped: its "
            "bound is above the best split's loss; undecided: the deadline came first"
        ),
    ]
    predicted_loss: Annotated[float | None, Field(description="of its best plan, where it was solved")]
    lower_bound: Annotated[float | None, Field(description="no plan of this split loses less; null where none exists")]
    front_bytes: Annotated[int, Field(description="that its plan takes; the least that any takes where it was not solved")]
    back_bytes: Annotated[int, Field(description="likewise")]
    seconds: Annotated[float, Field(description="likewise, to decode one token of each sequence")]
    reason: Annotated[str, Field(description="why it was not solved; empty where it was")]


class SplitProof(Schema):
    """How far the best split is proven to be the best of all."""

    status: Annotated[Literal["optimal", "feasible"], Field(description="optimal: no split and no formats lose less")]
    lower_bound: Annotated[float, Field(description="no split within the limits loses less")]
    gap: Annotated[
        float | None,
        Field(description="(loss − lower bound) / |loss|; 0 is proven; null where the loss is 0 and the bound is not"),
    ]


class SplitDocument(Schema):
    """The best split of a model over two devices, and the scan that it was found by."""

    model: Annotated[str, Field(description="id of the model")]
    model_name: Annotated[str, Field(description="its name")]
    unit: Annotated[str, Field(description="of losses")]
    blocks: Annotated[int, Field(description="transformer blocks of the model: the scan has one split more")]
    best: Annotated[SplitPlan, Field(description="the best split; of equal ones the one that takes fewer seconds")]
    proof: Annotated[SplitProof, Field(description="of the best split")]
    decode_seconds: Annotated[float | None, Field(description="the limit of seconds, if there was one")]
    splits: Annotated[
        list[SplitRow], Field(description="every split point, from everything on the back to everything on the front")
    ]
    provenance: Annotated[Provenance, Field(description="whose curves")]
    notes: Annotated[list[str], Field(description="what the answer stands on")]
