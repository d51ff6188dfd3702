"""HQQ. It replaces linear modules alone, which the experts of a mixture are not in transformers."""

from sensitivity.formats.candidate import CandidateFormat
from tests.exports.target import Resolved, Target


def _resolved(candidate: CandidateFormat) -> Resolved:
    found = {"nbits": candidate.num_bits, "axis": 1}
    return found if candidate.group_size is None else {**found, "group_size": candidate.group_size}


TARGET = Target(
    name="hqq",
    engine="hqq",
    runtime="hqq",
    resolved=_resolved,
    tolerance=1e-5,
    weights="bfloat16",
    models=("llama", "smollm2"),
    in_ci=False,
)
