"""ModelOpt checkpoints in vLLM (0.32 or later): NVFP4 without quantized activations, and FP8 by channel and token.

Source: vLLM resolves every shard of a fused layer and refuses shards of two algorithms; algorithms that it does not know it
takes for unquantized layers without a word.
"""

from planner.runtimes.fused import FUSED_KINDS
from planner.runtimes.kv_rules import KVRules, KVTie
from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing_modelopt import modelopt_refusal, modelopt_size_bits


def _refusal(candidate: CandidateFormat, layer: Layer) -> str | None:
    return modelopt_refusal(candidate, layer.shape)


def _needs(candidate: CandidateFormat) -> str:
    return {
        "FP8": "FP8 matrix units (compute capability 8.9 or higher)",
        "NVFP4": "compute capability 7.5 or higher (Marlin; weights are dequantized)",
    }.get(candidate.name, "")


def _quantizes_activations(candidate: CandidateFormat) -> bool:
    return candidate.name == "FP8"


RUNTIME = RuntimeProfile(
    name="modelopt",
    description="vLLM with ModelOpt checkpoints: FP8 by channel (activations in FP8 by token) and NVFP4 with plain activations.",
    ignore_kinds=frozenset({"lm_head"}),
    tied_kinds=FUSED_KINDS,
    tie_experts=True,
    size_bits=modelopt_size_bits,
    refusal=_refusal,
    exports=("modelopt", "json"),
    kernel_needs=_needs,
    quantizes_activations=_quantizes_activations,
    kv=KVRules(KVTie.ALL, frozenset({"FP8"})),
)
