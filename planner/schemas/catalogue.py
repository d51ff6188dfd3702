"""Documents of what this service knows by itself: candidate formats, runtimes and probes."""

from typing import Annotated

from pydantic import Field

from planner.schemas.base import Parameters, Schema


class FormatDocument(Schema):
    """A candidate format: one way to store a weight matrix."""

    name: Annotated[str, Field(examples=["INT4_G64"], description="name to ask for it by")]
    num_bits: Annotated[int, Field(description="bits of one stored element")]
    type: Annotated[str, Field(description="'int', 'float', 'normal_float', or 'block' (a type of ggml)")]
    strategy: Annotated[str, Field(description="which elements share a scale: tensor, channel, group, tensor_group, unquantized")]
    group_size: Annotated[int | None, Field(description="elements along the input dimension that share a scale, or of a block")]
    symmetric: Annotated[bool, Field(description="without a zero point")]
    scale_dtype: Annotated[str | None, Field(description="number format of the scales; null without scales")]
    scale_bits: Annotated[int, Field(description="stored bits of one scale")]
    zero_point_bits: Annotated[int, Field(description="stored bits of one zero point")]
    tensor_bits: Annotated[int, Field(description="extra bits stored once a tensor")]
    block_bytes: Annotated[int | None, Field(description="stored bytes of a block, scales included; else null")] = None
    effective_bits: Annotated[float, Field(description="stored bits ÷ weights of a 4096 × 4096 matrix; other shapes differ")]


class FormatList(Schema):
    """Every candidate format, fewest bits first."""

    items: Annotated[list[FormatDocument], Field(description="candidate formats")]


class CacheFormatDocument(Schema):
    """A format of the keys or of the values in the KV cache."""

    name: Annotated[str, Field(examples=["K_INT4"], description="name to ask for it by")]
    tensor: Annotated[str, Field(description="'K' or 'V'")]
    num_bits: Annotated[int, Field(description="bits of one stored element")]
    type: Annotated[str, Field(description="'int' or 'float'")]
    strategy: Annotated[str, Field(description="which elements share a scale: tensor, token, channel, unquantized")]
    group_size: Annotated[
        int | None, Field(description="elements of a head, or tokens of a channel, that share a scale; null for a whole head")
    ]
    element_dtype: Annotated[str | None, Field(description="number format of the elements; null for codes")]
    scale_bits: Annotated[int, Field(description="stored bits of one scale")]
    minimum_bits: Annotated[int, Field(description="stored bits of one minimum")]
    tensor_bits: Annotated[int, Field(description="extra bits stored once a layer")]
    effective_bits: Annotated[float, Field(description="stored bits ÷ elements of heads of 128 in a long cache")]


class CacheFormatList(Schema):
    """Every format of the KV cache, fewest bits first."""

    items: Annotated[list[CacheFormatDocument], Field(description="formats of keys and of values")]


class RuntimeDocument(Schema):
    """An engine that may serve a plan, and what it accepts."""

    name: Annotated[str, Field(description="name to ask for it by")]
    description: Annotated[str, Field(description="what it is")]
    ignore_kinds: Annotated[list[str], Field(description="layer kinds left unquantized unless a request says otherwise")]
    tied_kinds: Annotated[list[list[str]], Field(description="kinds that share one format within one module")]
    tie_experts: Annotated[bool, Field(description="all routed experts of a block share one format")]
    exports: Annotated[list[str], Field(description="export targets that this engine loads; the first is the default")]


class RuntimeList(Schema):
    """Every runtime."""

    items: Annotated[list[RuntimeDocument], Field(description="runtimes")]


class ProbeDocument(Schema):
    """A measurement procedure."""

    name: Annotated[str, Field(description="name to ask for it by")]
    code_version: Annotated[int, Field(description="raised whenever the numbers would change; part of a cell's identity")]
    in_nats: Annotated[bool, Field(description="the loss is in nats per token")]
    additive: Annotated[bool, Field(description="losses of different layers may be added")]
    needs_calibration: Annotated[bool, Field(description="runs on the tokens of a calibration set")]
    is_ranking: Annotated[bool, Field(description="orders layers: its numbers are no losses, and nothing is planned with them")]
    formats: Annotated[
        str, Field(description="what it measures formats of: 'weights', 'kv_cache', or 'any' for no format at all")
    ]
    default_formats: Annotated[list[str], Field(description="formats that are measured where a request names none")]
    parameters: Annotated[Parameters, Field(description="hyper-parameters and their defaults")]


class ProbeList(Schema):
    """Every probe."""

    items: Annotated[list[ProbeDocument], Field(description="probes")]
