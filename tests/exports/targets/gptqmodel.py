"""GPTQModel, loaded by itself on its torch kernel.

Decoded weights are the exact products of our codes and scales, so logits differ by what float32 adds in another order.
5, 6 and 7 bits, which make a file planar, are planned from the third block on: so the mixtures, of two blocks, are written in
the dense layout, and the other models in the planar one.
"""

import re

from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from tests.exports.target import Resolved, Target

PROJECTIONS = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}


def _resolved(candidate: CandidateFormat) -> Resolved:
    return {"bits": candidate.num_bits, "group_size": candidate.group_size or -1, "sym": True, "desc_act": False}


def stored_as(name: str) -> str:
    """Mixtral's experts have the names of transformers' own modules."""
    match = re.fullmatch(r"(.+)\.block_sparse_moe\.experts\.(\d+)\.(w\d)", name)
    return name if match is None else f"{match[1]}.mlp.experts.{match[2]}.{PROJECTIONS[match[3]]}"


def _loads(candidate: CandidateFormat, layer: Layer) -> bool:
    return candidate.num_bits not in (5, 6, 7) or (layer.block or 0) > 1


TARGET = Target(
    name="gptqmodel",
    engine="gptqmodel",
    runtime="gptqmodel",
    resolved=_resolved,
    tolerance=1e-5,
    weights="float32",
    models=("llama", "qwen3_moe", "mixtral", "smollm2"),
    loads=_loads,
    stored_as=stored_as,
    environment={"GPTQMODEL_CPU_WORKERS": "2", "TORCH_COMPILE_DISABLE": "1"},
)
