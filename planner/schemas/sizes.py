"""Sizes of assignments: bits and bytes, of tensors, of files and in memory."""

from typing import Annotated

from pydantic import Field

from planner.schemas.base import Schema


class Size(Schema):
    """Exact sizes of an assignment."""

    layer_bits: Annotated[int, Field(description="stored bits of the planned layers, with scales, zero points, padding")]
    effective_bits: Annotated[float, Field(description="layer_bits ÷ weights of the planned layers")]
    tensor_bytes: Annotated[
        int | None,
        Field(description="all tensors: planned layers, ignored layers, unquantized tensors; null in plans of former versions"),
    ] = None
    container_bytes: Annotated[
        int | None,
        Field(
            description="what the files of weights have beside tensors: headers, an index, a GGUF's metadata and tokenizer; null "
            "where no file is written, or the model was registered by a former version"
        ),
    ] = None
    file_bytes: Annotated[
        int,
        Field(
            description="tensor_bytes + container_bytes: model.safetensors, or its shards and their index, or model.gguf; not "
            "config.json and the tokenizer's files beside them"
        ),
    ]
    kv_bytes: Annotated[
        int,
        Field(description="KV cache at the asked context and batch: in its formats where it is planned, else 16 bits an element"),
    ]
    resident_bytes: Annotated[int, Field(description="tensor_bytes + kv_bytes + workspace")]


class Bounds(Schema):
    """Smallest and largest plan, before any measuring."""

    model: Annotated[str, Field(description="id of the model")]
    runtime: Annotated[str, Field(description="engine that would serve the plan")]
    formats: Annotated[list[str], Field(description="candidate formats")]
    layers: Annotated[int, Field(description="planned layers")]
    groups: Annotated[int, Field(description="layer groups: layers that must share a format count once")]
    smallest: Annotated[Size, Field(description="every layer group in its smallest format")]
    largest: Annotated[Size, Field(description="every layer group in its largest format")]
