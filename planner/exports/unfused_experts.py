"""Where engines on transformers 5 look for experts: in modules of their own, all named as Qwen names them.

Mixtral's checkpoints say ``block_sparse_moe.experts.3.w1``; transformers 5 calls that block ``mlp``, and GPTQModel and AutoRound
give every expert a ``gate_proj``, an ``up_proj`` and a ``down_proj`` again, which transformers has stacked.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from sensitivity.checkpoint.description import Layer

_BLOCK: Final = re.compile(r"\.block_sparse_moe\.")
_EXPERT: Final = re.compile(r"(\.mlp\.experts\.\d+\.)(w[123])(?=\.|$)")
_PROJECTIONS: Final = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}


def engine_name(name: str) -> str:
    """Name of a layer or a tensor in the engine; most are those of the checkpoint."""
    return _EXPERT.sub(lambda found: found[1] + _PROJECTIONS[found[2]], _BLOCK.sub(".mlp.", name))


def engine_layers(layers: Iterable[Layer]) -> list[Layer]:
    """Layers by the engine's names, in the same order."""
    return [replace(layer, name=engine_name(layer.name)) for layer in layers]
