"""MLX, loaded by mlx-lm: experts of a projection are one stacked module."""

import re

from sensitivity.formats.candidate import CandidateFormat
from tests.exports.target import Resolved, Target

PROJECTIONS = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}


def _resolved(candidate: CandidateFormat) -> Resolved:
    mode = "affine" if candidate.type.value == "int" else "mxfp4"
    return {"bits": candidate.num_bits, "group_size": candidate.group_size, "mode": mode}


def _stored_as(name: str) -> str:
    match = re.fullmatch(r"(.+)\.experts\.\d+\.(\w+)", name)
    return name if match is None else f"{match[1]}.switch_mlp.{PROJECTIONS.get(match[2], match[2])}"


TARGET = Target(
    name="mlx",
    engine="mlx",
    runtime="mlx",
    resolved=_resolved,
    tolerance=1e-4,
    weights="float32",
    models=("llama", "qwen3_moe", "mixtral", "smollm2"),
    stored_as=_stored_as,
)
