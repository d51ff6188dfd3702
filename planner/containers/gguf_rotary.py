"""How a GGUF says that the rotary embedding of Llama 3.1 and later is scaled: a factor for each pair of a head's elements."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LLAMA3: Final = "llama3"
TENSOR: Final = "rope_freqs.weight"


def rotary_settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Parameters of the rotary embedding, under transformers' present or former name."""
    return config.get("rope_parameters") or config.get("rope_scaling") or {}


def rotary_kind(config: Mapping[str, Any]) -> str:
    """How the rotary embedding is scaled; ``default`` for not at all."""
    settings = rotary_settings(config)
    return str(settings.get("rope_type") or settings.get("type") or "default")


def rotary_base(config: Mapping[str, Any]) -> float:
    """The base θ: pair i of a head of d turns by ``θ^(−2i/d)`` a token."""
    return float(rotary_settings(config).get("rope_theta") or config.get("rope_theta") or 10000.0)


def head_size(config: Mapping[str, Any]) -> int:
    """Elements of a head."""
    return int(config.get("head_dim") or int(config["hidden_size"]) // int(config["num_attention_heads"]))


def rotary_factors(config: Mapping[str, Any]) -> NDArray[np.float32] | None:
    """What llama.cpp divides each pair's frequency by, float32 (head_dim/2,); ``None`` without a scaling of this kind.

    Waves that are short against the context of the pretraining stay; long ones are stretched by ``factor``; frequencies between
    ``low_freq_factor`` and ``high_freq_factor`` waves in that context go from one to the other in a straight line.
    """
    if rotary_kind(config) != LLAMA3:
        return None
    settings, size = rotary_settings(config), head_size(config)
    low, high, factor = (float(settings[key]) for key in ("low_freq_factor", "high_freq_factor", "factor"))
    lengths = 2 * np.pi * rotary_base(config) ** (np.arange(0, size, 2) / size)
    waves = float(settings["original_max_position_embeddings"]) / lengths
    kept = np.clip((waves - low) / (high - low), 0, 1)
    return (1 / (kept + (1 - kept) / factor)).astype(np.float32)
