"""Names of a model's tensors in GGUF, through the ``gguf`` package's own tables."""

from collections.abc import Mapping
from typing import Any, Final

import gguf

from planner.errors import ExportError
from planner.exports.target import ExportedModel
from sensitivity.checkpoint.description import Layer

EMBEDDING: Final = "token_embd.weight"

ARCHITECTURES: Final[Mapping[str, str]] = {
    "llama": "llama",
    "mistral": "llama",
    "mixtral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "phi3": "phi3",
    "smollm3": "smollm3",
    "gpt2": "gpt2",
    "gpt_neox": "gptneox",
    "qwen2_moe": "qwen2moe",
    "qwen3_moe": "qwen3moe",
}
"""``model_type`` → ``general.architecture`` of the converter; llama.cpp has no OPT."""


def tensor_names(model: ExportedModel) -> dict[str, str]:
    """Name of each layer's tensor in GGUF (``blk.0.attn_q.weight``); the experts of a projection have one.

    Raises:
        ExportError: llama.cpp's names of the architecture are not known here, or it has none of a layer.
    """
    if model.architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        msg = f"{model.architecture} is not among the architectures whose names in llama.cpp are known here: {known}; export json"
        raise ExportError(msg, rule="architecture")
    blocks = 1 + max((layer.block for layer in model.layers if layer.block is not None), default=0)
    table = name_table(model.architecture, blocks)
    return {layer.name: _named(layer, table) for layer in model.layers}


def name_table(architecture: str, blocks: int) -> Any:
    """The library's table of an architecture of ``ARCHITECTURES``: ``get_name`` of a module's path."""
    known = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}
    return gguf.get_tensor_name_map(known[ARCHITECTURES[architecture]], blocks)


def module_name(name: str, expert: int | None) -> str:
    """A module's path as the library knows it: without the number of an expert."""
    return name if expert is None else name.replace(f".experts.{expert}.", ".experts.")


def _named(layer: Layer, table: Any) -> str:
    found = table.get_name(module_name(layer.name, layer.expert))
    if found is None:
        msg = f"llama.cpp has no tensor for {layer.name}; export json"
        raise ExportError(msg, layers=[layer.name], rule="name")
    return f"{found}.weight"
