"""PyTorch on a processor: the formats that its linear kernels for bfloat16 activations read as they are stored.

Source: torch 2.13, ``aten::_weight_int8pack_mm`` and ``aten::_weight_int4pack_mm_for_cpu``, by trying shapes: the first crashes
the process where in_features is no multiple of 16, the second refuses out_features that are no multiple of 16. Both leave the
activations in bfloat16, as the curves do. The dynamic int8 kernels (``quantized::linear_dynamic``) are no kernels of a format
here: they quantize activations too, one scale for all of them, which on SmolLM2-135M costs 0.5 nats per token where the
weights alone cost 0.003.
"""

from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat

KERNELS = {
    "BF16": "aten::linear",
    "INT8_CHANNEL": "aten::_weight_int8pack_mm",
    "INT4_G32": "aten::_weight_int4pack_mm_for_cpu",
    "INT4_G64": "aten::_weight_int4pack_mm_for_cpu",
    "INT4_G128": "aten::_weight_int4pack_mm_for_cpu",
}
"""Name of the kernel by name of the format."""
_MULTIPLE = 16
_ZERO_BITS = 16


def _refusal(candidate: CandidateFormat, layer: Layer) -> str | None:
    out_features, in_features = layer.shape
    if candidate.name not in KERNELS:
        return f"torch has no kernel for {candidate.name} on a processor: use {', '.join(KERNELS)}"
    if candidate.name == "INT8_CHANNEL" and in_features % _MULTIPLE:
        return f"torch's kernel for INT8_CHANNEL needs in_features divisible by {_MULTIPLE}, not {in_features}"
    if candidate.group_size is not None and (out_features % _MULTIPLE or in_features % candidate.group_size):
        return (
            f"torch's kernel for {candidate.name} needs out_features divisible by {_MULTIPLE} and in_features by "
            f"{candidate.group_size}, not {out_features} × {in_features}"
        )
    return candidate.refusal(layer.shape)


def _size_bits(candidate: CandidateFormat, shape: tuple[int, int]) -> int:
    """As the format itself counts, and the zero that the int4 kernel keeps beside each scale."""
    groups = 0 if candidate.group_size is None else shape[0] * -(-shape[1] // candidate.group_size)
    return candidate.size_bits(shape) + groups * _ZERO_BITS


RUNTIME = RuntimeProfile(
    name="torch-cpu",
    description="PyTorch's linear kernels on a processor, bfloat16 activations: BF16, INT8_CHANNEL and symmetric INT4 by groups.",
    ignore_kinds=frozenset({"lm_head"}),
    tied_kinds=(),
    tie_experts=False,
    size_bits=_size_bits,
    refusal=_refusal,
    exports=("json",),
)
