"""GGUF files of any architecture, from a tiny model and the ``gguf`` package's own table of names."""

from pathlib import Path

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, PreTrainedConfig

from tests.tiny_models import write_byte_vocabulary, write_model


def write_pair(directory: Path, architecture: str, config: PreTrainedConfig, **fields: float | str) -> tuple[Path, Path]:
    """Write a model as safetensors and as GGUF (F16); ``fields`` are further metadata of the architecture."""
    checkpoint = write_model(directory / "checkpoint", config, dtype=torch.float16)
    state = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float16).state_dict()
    path = directory / "model.gguf"
    writer = gguf.GGUFWriter(str(path), architecture)
    _write_sizes(writer, architecture, config)
    for key, value in fields.items():
        add = writer.add_string if isinstance(value, str) else writer.add_float32
        add(f"{architecture}.{key.replace('__', '.')}", value)
    write_byte_vocabulary(writer)
    table = gguf.get_tensor_name_map(
        {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}[architecture], config.num_hidden_layers
    )
    for name, tensor in state.items():
        if not (name == "lm_head.weight" and config.tie_word_embeddings):
            _add(writer, table, name, tensor.numpy(), offset_norms=architecture.startswith("gemma"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return checkpoint, path


def _write_sizes(writer: gguf.GGUFWriter, architecture: str, config: PreTrainedConfig) -> None:
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters.get("rope_theta", 1e6))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    if getattr(config, "head_dim", None):
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)
    if architecture.endswith("moe"):
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)


def _add(
    writer: gguf.GGUFWriter, table: gguf.TensorNameMap, name: str, array: NDArray[np.generic], *, offset_norms: bool
) -> None:
    if ".mlp.experts." in name:
        block, half = name.split(".")[2], array.shape[1] // 2
        parts = {"down": array} if name.endswith("down_proj") else {"gate": array[:, :half], "up": array[:, half:]}
        for role, part in parts.items():
            writer.add_tensor(f"blk.{block}.ffn_{role}_exps.weight", part.copy())
        return
    path, suffix = name.rsplit(".", 1)
    target = table.get_name(path)
    assert target is not None, name
    if "shared_expert_gate" in name:
        array = array[0]
    if array.ndim == 1:
        array = array.astype(np.float32) + (1 if offset_norms and "norm" in target else 0)
    writer.add_tensor(f"{target}.{suffix}", array)
