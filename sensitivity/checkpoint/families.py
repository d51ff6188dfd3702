"""The architectures that are known, as data: where a checkpoint of each keeps what.

A family is added by one entry here. Names are those of the checkpoint on the hub; where transformers keeps the same matrix
elsewhere (fused experts, a renamed head), ``sensitivity.loading`` finds it by block, expert and kind.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from sensitivity.checkpoint.untrusted import shown
from sensitivity.errors import UnknownArchitectureError


@dataclass(frozen=True, slots=True)
class Experts:
    """The routed experts of a block.

    Attributes:
        path: path within the block; expert ``n`` is ``{path}.{n}``.
        projections: gate, up and down projection of an expert.
        shared: roles of the expert that every token passes, beside the routed ones.
    """

    path: str
    projections: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj")
    shared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """How checkpoints of one ``model_type`` are laid out.

    Attributes:
        blocks: path of the list of transformer blocks.
        attention: attention's linear modules within a block, in model order.
        mlp: the dense MLP's linear modules within a block.
        experts: routed experts, in the blocks that have no dense MLP.
        embedding: path of the token embedding.
        head: name of the output head.
        tied: whether the head is the embedding when the configuration does not say.
        transposed: matrices are stored as (in, out) (Conv1D).
        key_value: the modules whose outputs go to the K and V caches; one name is a fused query-key-value projection.
        keys: names of the configuration's sizes where they are not the usual ones.
        ignored: ends of names of stored buffers that are no parameters (masks, rotary tables).
        base: prefix that checkpoints of the bare model leave out.
        learned_positions: positions are rows of a table, so that no sequence is longer than it.
    """

    blocks: str
    attention: tuple[str, ...]
    mlp: tuple[str, ...]
    experts: Experts | None = None
    embedding: str = "model.embed_tokens"
    head: str = "lm_head"
    tied: bool = False
    transposed: bool = False
    key_value: tuple[str, ...] = ("self_attn.k_proj", "self_attn.v_proj")
    keys: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = (".rotary_emb.inv_freq",)
    base: str = "model"
    learned_positions: bool = False


_LLAMA: Final = Family(
    blocks="model.layers",
    attention=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    mlp=("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
)
_TIED: Final = replace(_LLAMA, tied=True)
_SHARED: Final = ("mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj", "mlp.shared_expert.down_proj")

FAMILIES: Final[Mapping[str, Family]] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": _TIED,
    "gemma2": _TIED,
    "gemma3_text": _TIED,
    "smollm3": _TIED,
    "olmo": _LLAMA,
    "olmo2": _LLAMA,
    "olmo3": _LLAMA,
    "stablelm": _LLAMA,
    "granite": _LLAMA,
    "seed_oss": _LLAMA,
    "ministral3": _LLAMA,
    "cohere": _TIED,
    "cohere2": _TIED,
    "ernie4_5": _TIED,
    "starcoder2": replace(_TIED, mlp=("mlp.c_fc", "mlp.c_proj")),
    "nemotron": replace(_LLAMA, mlp=("mlp.up_proj", "mlp.down_proj")),
    "phi": replace(
        _LLAMA,
        attention=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.dense"),
        mlp=("mlp.fc1", "mlp.fc2"),
    ),
    "phi3": Family(
        blocks="model.layers",
        attention=("self_attn.qkv_proj", "self_attn.o_proj"),
        mlp=("mlp.gate_up_proj", "mlp.down_proj"),
        key_value=("self_attn.qkv_proj",),
    ),
    "gpt2": Family(
        blocks="transformer.h",
        attention=("attn.c_attn", "attn.c_proj"),
        mlp=("mlp.c_fc", "mlp.c_proj"),
        embedding="transformer.wte",
        tied=True,
        transposed=True,
        key_value=("attn.c_attn",),
        keys={
            "num_hidden_layers": "n_layer",
            "num_attention_heads": "n_head",
            "max_position_embeddings": "n_positions",
        },
        ignored=(".attn.bias", ".attn.masked_bias"),
        base="transformer",
        learned_positions=True,
    ),
    "gpt_neox": Family(
        blocks="gpt_neox.layers",
        attention=("attention.query_key_value", "attention.dense"),
        mlp=("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
        embedding="gpt_neox.embed_in",
        head="embed_out",
        key_value=("attention.query_key_value",),
        ignored=(".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"),
        base="gpt_neox",
    ),
    "opt": Family(
        blocks="model.decoder.layers",
        attention=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"),
        mlp=("fc1", "fc2"),
        embedding="model.decoder.embed_tokens",
        tied=True,
        learned_positions=True,
    ),
    "mixtral": replace(
        _LLAMA,
        mlp=(),
        experts=Experts("block_sparse_moe.experts", ("w1", "w3", "w2")),
        keys={"num_experts": "num_local_experts"},
    ),
    "qwen2_moe": replace(_LLAMA, experts=Experts("mlp.experts", shared=_SHARED)),
    "qwen3_moe": replace(_LLAMA, experts=Experts("mlp.experts")),
    "olmoe": replace(_LLAMA, mlp=(), experts=Experts("mlp.experts")),
}

GGUF_ARCHITECTURES: Final[Mapping[str, str]] = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
    "phi3": "phi3",
    "qwen2moe": "qwen2_moe",
    "qwen3moe": "qwen3_moe",
}
"""``general.architecture`` of a GGUF -> ``model_type``: the overlap of our families with what transformers reads."""


def get_family(model_type: str) -> Family:
    """The family of a ``model_type``.

    Raises:
        UnknownArchitectureError: none has this name; the message lists those that are known.
    """
    if model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        msg = f"the architecture {shown(model_type)} is unknown: register a model of one that is known: {known}"
        raise UnknownArchitectureError(msg)
    return FAMILIES[model_type]
