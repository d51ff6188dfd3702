"""ModelOpt: resolved and decoded by its own library, which has no loader; not in CI, for the size of its installation."""

from sensitivity.formats.candidate import CandidateFormat
from tests.exports.target import Resolved, Target


def _resolved(candidate: CandidateFormat) -> Resolved:
    if candidate.num_bits == 8:
        return {"algorithm": "FP8_PER_CHANNEL_PER_TOKEN", "num_bits": 8, "type": "float", "strategy": "channel"}
    return {"algorithm": "W4A16_NVFP4", "num_bits": 4, "type": "float", "group_size": candidate.group_size}


TARGET = Target(
    name="modelopt",
    engine="modelopt",
    runtime="modelopt",
    resolved=_resolved,
    tolerance=1e-4,
    weights="float32",
    models=("llama", "qwen3_moe", "mixtral", "smollm2"),
    in_ci=False,
)
