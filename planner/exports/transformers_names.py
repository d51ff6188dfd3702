"""Names of layers in engines that load checkpoints on transformers 5, where they are not those of the checkpoint.

transformers 5 calls Mixtral's ``block_sparse_moe`` ``mlp`` and GPT-NeoX's ``embed_out`` ``lm_head``. It stacks experts; GPTQModel
and AutoRound take them apart again and name them as Qwen does, so Mixtral's ``w1`` is a ``gate_proj``.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from sensitivity.checkpoint.description import Layer

_MIXTRAL: Final = ".block_sparse_moe."
_EXPERT: Final = re.compile(r"(?<=\.experts\.)(\d+)\.(w[123])(?=\.|$)")
_PROJECTIONS: Final = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
_HEAD: Final = re.compile(r"^embed_out(?=\.|$)")


def engine_name(name: str) -> str:
    """Name of a layer or a tensor in the engine; most are those of the checkpoint."""
    if _MIXTRAL in name:
        return _EXPERT.sub(lambda found: f"{found[1]}.{_PROJECTIONS[found[2]]}", name.replace(_MIXTRAL, ".mlp."))
    return _HEAD.sub("lm_head", name)


def engine_layers(layers: Iterable[Layer]) -> list[Layer]:
    """Layers by the engine's names, in the same order."""
    return [layer if (name := engine_name(layer.name)) == layer.name else replace(layer, name=name) for layer in layers]
