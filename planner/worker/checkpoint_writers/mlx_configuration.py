"""``config.json`` as mlx-lm reads it: it looks for some settings under the names of transformers 4.

transformers 5 keeps rotary settings together in ``rope_parameters``, and calls the number of experts ``num_local_experts`` in
every model.
"""

from collections.abc import Mapping
from typing import Any, Final

EXPERTS: Final = "num_local_experts"
BESIDE: Final = ("rope_theta", "partial_rotary_factor")
"""Rotary settings that mlx-lm's models take from the top of the configuration."""
BASES: Final = {"full_attention": "rope_theta", "sliding_attention": "rope_local_base_freq"}
"""mlx-lm's name of the rotary base of each type of attention layer (Gemma 3)."""


def mlx_configuration(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with what mlx-lm looks for beside it; what it already says there is kept."""
    experts = {"num_experts": config[EXPERTS]} if EXPERTS in config else {}
    return {**experts, **_rotary(config.get("rope_parameters")), **config}


def _rotary(rotary: object) -> dict[str, Any]:
    if not isinstance(rotary, Mapping):
        return {}
    if rotary.keys() & BASES.keys():
        bases = {name: rotary[kind]["rope_theta"] for kind, name in BASES.items() if kind in rotary}
        return {**bases, **_scaling(rotary.get("full_attention", {}))}
    return {**{key: rotary[key] for key in BESIDE if key in rotary}, **_scaling(rotary)}


def _scaling(rotary: Mapping[str, Any]) -> dict[str, Any]:
    kind = rotary.get("rope_type", "default")
    if kind == "default":
        return {}
    return {"rope_scaling": {"type": kind, **{key: value for key, value in rotary.items() if key not in BESIDE}}}
