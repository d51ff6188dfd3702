"""What a checkpoint holds, read from its configuration and headers only. No torch here."""

import math
from dataclasses import dataclass
from enum import StrEnum

from sensitivity.checkpoint.families import get_family


class SourceKind(StrEnum):
    """How the weights are stored."""

    SAFETENSORS = "safetensors"
    GGUF = "gguf"


@dataclass(frozen=True, slots=True)
class Layer:
    """One quantizable linear module.

    Attributes:
        name: module path without ``.weight``, in Hugging Face's naming also for GGUF (``model.layers.0.self_attn.q_proj``);
            an expert of a mixture has a path of its own (``model.layers.0.mlp.experts.3.gate_proj``).
        kind: last part of the role: ``q_proj``, ``down_proj``, ``c_attn``, ``lm_head``, …
        block: index of the transformer block, ``None`` outside the blocks.
        expert: index of the routed expert, ``None`` for dense layers.
        out_features: rows of the weight as ``(out, in)``, also where the checkpoint stores it transposed (Conv1D).
        in_features: columns of the weight as ``(out, in)``.
        active_fraction: share of tokens that a routed expert sees on average (top_k / experts); 1 for dense layers.
    """

    name: str
    kind: str
    block: int | None
    expert: int | None
    out_features: int
    in_features: int
    active_fraction: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""
        return self.out_features, self.in_features

    @property
    def parameters(self) -> int:
        """Weights of the matrix, without bias."""
        return self.out_features * self.in_features


@dataclass(frozen=True, slots=True)
class RestTensor:
    """A parameter that is of no layer: name in Hugging Face's naming, and shape with the outermost dimension first."""

    name: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """A checkpoint as planning sees it.

    Attributes:
        source: directory, GGUF file or hub id, as given.
        path: resolved local directory or file.
        revision: hub revision, or ``None``.
        kind: safetensors or GGUF.
        architecture: ``model_type`` of the configuration (``llama``, ``qwen3_moe``, ``gpt2``, …).
        dtype: dtype in which unquantized tensors are kept (``bfloat16``, …).
        fingerprint: SHA-256 over configuration, tensor names, dtypes, shapes and shard contents.
        blocks: number of transformer blocks.
        parameters: all parameters, tied tensors once.
        unquantized_bytes: bytes of everything that is no layer (embeddings, norms, biases, routers) in ``dtype``, tied tensors
            once.
        kv_elements_per_token: elements that one token adds to the K and V caches over all blocks.
        vocab_size: size of the vocabulary.
        context_length: longest context of the configuration, or ``None``.
        layers: quantizable layers in model order; ``lm_head`` only when it is not tied to the embedding.
        heads: query heads of a block; ``None`` where it is unknown.
        kv_heads: key-value heads of a block; ``None`` where it is unknown.
        rest: every parameter that is of no layer; ``None`` where they are unknown.
        tokenizer_bytes: bytes of its tokenizer as metadata of a GGUF; ``None`` where it is unknown, or none that is written.
    """

    source: str
    path: str
    revision: str | None
    kind: SourceKind
    architecture: str
    dtype: str
    fingerprint: str
    blocks: int
    parameters: int
    unquantized_bytes: int
    kv_elements_per_token: int
    vocab_size: int
    context_length: int | None
    layers: tuple[Layer, ...]
    heads: int | None = None
    kv_heads: int | None = None
    rest: tuple[RestTensor, ...] | None = None
    tokenizer_bytes: int | None = None

    @property
    def embedding_rows(self) -> int:
        """Rows of the token embedding; those that the configuration says where parameters are unknown."""
        name = f"{get_family(self.architecture).embedding}.weight"
        return next((tensor.shape[0] for tensor in self.rest or () if tensor.name == name), self.vocab_size)
