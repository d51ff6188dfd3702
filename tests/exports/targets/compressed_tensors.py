"""compressed-tensors, loaded by transformers, which cannot load zero points and decodes all experts with one scheme."""

from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from tests.exports.target import Resolved, Target


def _resolved(candidate: CandidateFormat) -> Resolved:
    return {
        "num_bits": candidate.num_bits,
        "type": candidate.type.value,
        "symmetric": candidate.symmetric,
        "strategy": candidate.strategy.value,
        "group_size": candidate.group_size,
    }


def _loads(candidate: CandidateFormat, layer: Layer) -> bool:
    return candidate.symmetric


TARGET = Target(
    name="compressed-tensors",
    engine="compressed_tensors",
    runtime="vllm",
    resolved=_resolved,
    tolerance=1e-5,
    weights="bfloat16",
    own_environment=False,
    real_in_ci=True,
    loads=_loads,
    one_format_for_experts=True,
)
