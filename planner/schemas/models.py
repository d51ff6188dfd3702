"""Requests and documents of registered models, as REST and `--json` show them."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from planner.schemas.base import Line, Page, Reference, Schema

Source = Annotated[
    Line,
    Field(
        min_length=1,
        max_length=4096,
        description="directory of safetensors, GGUF file, or hub id; a path is one of the machine that answers",
        examples=["/models/SmolLM2-135M", "Qwen/Qwen3-0.6B"],
    ),
]


class RegisterModel(Schema):
    """Register a checkpoint: its configuration and headers are read, not its weights."""

    source: Source
    name: Annotated[Reference | None, Field(description="name to call it by; the last part of the source by default")] = None
    revision: Annotated[
        str | None,
        Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", description="revision of a hub id"),
    ] = None


class Model(Schema):
    """A registered checkpoint."""

    id: Annotated[str, Field(description="fingerprint: SHA-256 over configuration, tensor headers and shard contents")]
    name: Annotated[str, Field(description="what it is called")]
    source: Annotated[str, Field(description="directory, file or hub id, as it was given")]
    revision: Annotated[str | None, Field(description="revision of a hub id; null for local files")]
    kind: Annotated[str, Field(description="'safetensors' or 'gguf'")]
    architecture: Annotated[str, Field(description="model_type of the configuration")]
    dtype: Annotated[str, Field(description="dtype in which unquantized tensors are kept")]
    blocks: Annotated[int, Field(description="transformer blocks")]
    layers: Annotated[int, Field(description="quantizable linear layers, routed experts one by one")]
    parameters: Annotated[int, Field(description="all parameters, tied tensors once")]
    layer_parameters: Annotated[int, Field(description="weights of the layers")]
    unquantized_bytes: Annotated[int, Field(description="bytes of all that is no layer: embeddings, norms, biases, routers")]
    kv_elements_per_token: Annotated[int, Field(description="elements one token adds to the K and V caches")]
    vocab_size: Annotated[int, Field(description="tokens of its vocabulary")]
    context_length: Annotated[
        int | None, Field(description="greatest number of positions; null when the configuration does not say")
    ]
    created_at: Annotated[datetime, Field(description="when it was registered")]


class ModelPage(Page[Model]):
    """Registered models, newest first."""


class LayerDocument(Schema):
    """One quantizable linear layer."""

    name: Annotated[str, Field(description="module path, in Hugging Face's naming also for GGUF")]
    kind: Annotated[str, Field(description="role: q_proj, down_proj, lm_head, …")]
    block: Annotated[int | None, Field(description="index of the transformer block; null outside the blocks")]
    expert: Annotated[int | None, Field(description="index of the routed expert; null for dense layers")]
    out_features: Annotated[int, Field(description="rows of the weight matrix")]
    in_features: Annotated[int, Field(description="columns of the weight matrix: scales are shared along these")]
    parameters: Annotated[int, Field(description="weights of the matrix, without bias")]
    active_fraction: Annotated[float, Field(description="share of tokens that a routed expert sees on average; 1 if dense")]


class LayerList(Schema):
    """Layers of a model, in model order."""

    model: Annotated[str, Field(description="id of the model")]
    items: Annotated[list[LayerDocument], Field(description="layers, in model order")]
