"""torchao, loaded by transformers: the experts of a block share a format, and are stacked where they are quantized."""

import re

from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from tests.exports.target import Resolved, Target, holder_of

GROUPS = (32, 64, 128, None)


def _some(candidate: CandidateFormat, layer: Layer) -> bool:
    """Each class, bit width and group size; the runtime loads more pairs of them than a tiny model has layers."""
    if candidate.type.value == "float" or (candidate.num_bits == 8 and candidate.symmetric):
        return True
    return candidate.group_size == GROUPS[(candidate.num_bits + candidate.symmetric) % len(GROUPS)]


def _resolved(candidate: CandidateFormat) -> Resolved:
    common = {"group_size": candidate.group_size, "one_scale": candidate.strategy.value == "tensor"}
    if candidate.type.value == "float":
        return {"class": "Float8Tensor", "elements": "float8_e4m3fn", **common}
    if candidate.num_bits == 8 and candidate.symmetric:
        return {"class": "Int8Tensor", "elements": "int8", **common}
    return {"class": "IntxUnpackedToInt8Tensor", "elements": f"int{candidate.num_bits}", **common}


def _stored_as(name: str) -> str:
    match = re.fullmatch(r"(.+)\.(?:mlp|block_sparse_moe)\.experts\b.*", name)
    return name if match is None else f"{match[1]}.mlp.experts"


def _holder(tensor: str) -> str | None:
    module = holder_of(tensor)
    return None if module is None else _stored_as(module)


TARGET = Target(
    name="torchao",
    engine="torchao",
    runtime="torchao",
    resolved=_resolved,
    tolerance=1e-5,
    weights="bfloat16",
    models=("llama", "qwen3_moe", "mixtral", "smollm2"),
    loads=_some,
    stored_as=_stored_as,
    holder=_holder,
)
