"""AutoRound, loaded by transformers on AutoRound's torch kernel.

Scales are float16, which holds those of these models exactly, so logits differ by what float32 adds in another order.
"""

from sensitivity.formats.candidate import CandidateFormat
from tests.exports.target import Resolved, Target
from tests.exports.targets.gptqmodel import stored_as


def _resolved(candidate: CandidateFormat) -> Resolved:
    return {"bits": candidate.num_bits} | ({} if candidate.group_size is None else {"group_size": candidate.group_size})


TARGET = Target(
    name="autoround",
    engine="autoround",
    runtime="autoround",
    resolved=_resolved,
    tolerance=1e-5,
    weights="float32",
    models=("llama", "qwen3_moe", "mixtral", "smollm2"),
    in_ci=False,
    stored_as=stored_as,
)
