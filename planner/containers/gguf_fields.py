"""Metadata of a GGUF by architecture, from the model's ``config.json``.

Names and meanings are those of llama.cpp's converter. What llama.cpp would compute otherwise than the model does is refused: it
would serve other logits than those that were measured.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from gguf import GGML_QUANT_VERSION, GGUFWriter

from planner.containers.gguf_rotary import LLAMA3, head_size, rotary_base, rotary_kind
from sensitivity.checkpoint.families import get_family
from sensitivity.errors import CheckpointError

Config = Mapping[str, Any]

PERMUTED: Final = frozenset({"llama", "mistral", "mixtral"})
"""Architectures whose rotary embedding pairs neighbours in llama.cpp and halves of a head in the checkpoint."""

WRITABLE: Final = PERMUTED | {"qwen2", "qwen3", "qwen2_moe", "qwen3_moe"}
"""Architectures whose checkpoints are written; of the others the converter knows more than we do."""

_NORMALISED: Final = {"qwen2_moe": False, "qwen3_moe": True}
"""Whether llama.cpp makes the weights of a token's experts add up to one."""


def add_fields(writer: GGUFWriter, architecture: str, config: Config) -> None:
    """Write the sizes and constants of the model.

    Raises:
        CheckpointError: llama.cpp would compute another model.
    """
    _refuse(architecture, config)
    heads, head_dim = int(config["num_attention_heads"]), head_size(config)
    writer.add_context_length(int(config["max_position_embeddings"]))
    writer.add_embedding_length(int(config["hidden_size"]))
    writer.add_block_count(int(config["num_hidden_layers"]))
    writer.add_feed_forward_length(int(config["intermediate_size"]))
    writer.add_head_count(heads)
    writer.add_head_count_kv(int(config.get("num_key_value_heads") or heads))
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(rotary_base(config))
    writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))
    writer.add_vocab_size(int(config["vocab_size"]))
    _add_experts(writer, config)
    writer.add_quantization_version(GGML_QUANT_VERSION)


def some_config(architecture: str) -> Config:
    """A configuration of an architecture of ``WRITABLE`` with every size that is written: fields take as much in any model."""
    sizes = ("max_position_embeddings", "hidden_size", "num_hidden_layers", "intermediate_size", "head_dim", "vocab_size")
    experts = ("num_experts", "num_experts_per_tok", "moe_intermediate_size", "shared_expert_intermediate_size")
    heads = ("num_attention_heads", "num_key_value_heads", "rms_norm_eps")
    mixture = experts if get_family(architecture).experts else ()
    return {**dict.fromkeys((*sizes, *heads, *mixture), 1), "norm_topk_prob": _NORMALISED.get(architecture, False)}


def _add_experts(writer: GGUFWriter, config: Config) -> None:
    experts = config.get("num_local_experts") or config.get("num_experts")
    if not experts:
        return
    writer.add_expert_count(int(experts))
    writer.add_expert_used_count(int(config["num_experts_per_tok"]))
    further: dict[str, Callable[[int], None]] = {
        "moe_intermediate_size": writer.add_expert_feed_forward_length,
        "shared_expert_intermediate_size": writer.add_expert_shared_feed_forward_length,
    }
    for key, add in further.items():
        if config.get(key):
            add(int(config[key]))


def refuse_architecture(architecture: str) -> None:
    """Check that checkpoints of an architecture are written.

    Raises:
        CheckpointError: they are not.
    """
    if architecture not in WRITABLE:
        msg = (
            f"no GGUF file is written for {architecture}, but for {', '.join(sorted(WRITABLE))}: convert the model with "
            f"llama.cpp and give llama-quantize the exported tensor-type file (export without --checkpoint)"
        )
        raise CheckpointError(msg)


def _refuse(architecture: str, config: Config) -> None:
    refuse_architecture(architecture)
    reason = next(_reasons(architecture, config), None)
    if reason is not None:
        msg = f"no GGUF file is written for this model: {reason}. Use llama.cpp's converter and the exported tensor-type file"
        raise CheckpointError(msg)


def _reasons(architecture: str, config: Config) -> Iterator[str]:
    kind = rotary_kind(config)
    if kind != "default" and (kind, architecture) != (LLAMA3, "llama"):
        yield f"its rotary embedding is scaled ({kind})"
    if config.get("hidden_act", "silu") != "silu":
        yield f"its activation is {config['hidden_act']}, where llama.cpp has silu"
    window = config.get("sliding_window")
    if window and window < config["max_position_embeddings"] and config.get("use_sliding_window", True):
        yield f"its attention slides over {window} tokens, which llama.cpp does not do for this architecture"
    normalised = _NORMALISED.get(architecture)
    if normalised is not None and bool(config.get("norm_topk_prob", False)) is not normalised:
        yield f"its norm_topk_prob is {not normalised}, where llama.cpp assumes {normalised}"
