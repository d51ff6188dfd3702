"""OpenVINO: NNCF rounds by itself, so formats and stored bits are compared with the plan, logits with nothing.

Its scales of 4-bit integers are of another rule than ours. The shape of a grouped weight, two numbers of 64 bits in the graph, is
no part of its stored bits.
"""

import re

from planner.exports.transformers_names import engine_name
from sensitivity.formats.candidate import CandidateFormat, ElementType
from tests.exports.target import Resolved, Target


def _resolved(candidate: CandidateFormat) -> Resolved:
    integers = {(4, True): "i4", (4, False): "u4", (8, True): "i8", (8, False): "u8"}
    if candidate.type is ElementType.INT:
        elements, scale = integers[candidate.num_bits, candidate.symmetric], "f16"
    else:
        elements, scale = "f4e2m1", {16: "f8e4m3", 32: "f8e8m0"}[candidate.group_size or 0]
    return {"elements": elements, "scale": scale, "zero_point": not candidate.symmetric, "group_size": candidate.group_size}


def _stored_as(name: str) -> str:
    found = engine_name(name)
    return re.sub(r"(?<=\.experts)\.\d+\..*", "", found)


TARGET = Target(
    name="openvino",
    engine="openvino",
    runtime="openvino",
    resolved=_resolved,
    tolerance=None,
    weights="float32",
    models=("llama", "qwen3_moe", "mixtral", "gpt2", "opt"),
    stored_as=_stored_as,
    in_ci=False,
    document="passes",
)
