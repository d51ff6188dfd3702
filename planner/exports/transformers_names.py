"""Names of layers in engines that load checkpoints on transformers 5, where they are not those of the checkpoint.

transformers 5 calls Mixtral's ``block_sparse_moe`` ``mlp`` and GPT-NeoX's ``embed_out`` ``lm_head``. It stacks experts; GPTQModel
and AutoRound take them apart again and name them as Qwen does, so Mixtral's ``w1`` is a ``gate_proj``.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from sensitivity.checkpoint.description import Layer

_RENAMED: Final = (
    (re.compile(r"^embed_out(?=\.|$)"), "lm_head"),
    (re.compile(r"\.block_sparse_moe\."), ".mlp."),
    (re.compile(r"(\.mlp\.experts\.\d+\.)w1(?=\.|$)"), r"\1gate_proj"),
    (re.compile(r"(\.mlp\.experts\.\d+\.)w2(?=\.|$)"), r"\1down_proj"),
    (re.compile(r"(\.mlp\.experts\.\d+\.)w3(?=\.|$)"), r"\1up_proj"),
)


def engine_name(name: str) -> str:
    """Name of a layer or a tensor in the engine; most are those of the checkpoint."""
    for pattern, replacement in _RENAMED:
        name = pattern.sub(replacement, name)
    return name


def engine_layers(layers: Iterable[Layer]) -> list[Layer]:
    """Layers by the engine's names, in the same order."""
    return [replace(layer, name=engine_name(layer.name)) for layer in layers]
