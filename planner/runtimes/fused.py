"""Projections that vLLM makes one module of, and with it the engines that load its checkpoints. Data, no torch.

Source: ``packed_modules_mapping`` of vLLM 0.32's models: attention and MLP of all of them, and the gated linear attention of
Qwen3.5 and Qwen3-Next. A module whose members are not all there is made of those that are.
"""

from collections.abc import Mapping
from typing import Final

FUSED: Final[Mapping[str, tuple[str, ...]]] = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
    "in_proj_qkvz": ("in_proj_qkv", "in_proj_z"),
    "in_proj_ba": ("in_proj_b", "in_proj_a"),
}
"""Name of the module → kinds of the layers of a checkpoint that become it."""

FUSED_KINDS: Final = tuple(frozenset(members) for members in FUSED.values())
"""Kinds that share one format within one parent module (rule R1)."""
