"""optimum-quanto. It quantizes linear modules alone, which the experts of a mixture are not in transformers."""

import re

from sensitivity.formats.candidate import CandidateFormat
from tests.exports.target import Resolved, Target


def _resolved(candidate: CandidateFormat) -> Resolved:
    name = "qfloat8_e4m3fn" if candidate.type.value == "float" else f"qint{candidate.num_bits}"
    return {"weights": name, "group_size": candidate.group_size}


def _holder(tensor: str) -> str | None:
    match = re.fullmatch(r"(.+?)\.(?:weight(?:\..+)?|input_scale|output_scale)", tensor)
    return None if match is None else match[1]


TARGET = Target(
    name="quanto",
    engine="quanto",
    runtime="quanto",
    resolved=_resolved,
    tolerance=1e-4,
    weights="float32",
    models=("llama", "smollm2"),
    in_ci=False,
    holder=_holder,
)
