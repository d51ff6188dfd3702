"""MLX (mlx-lm): a format for each module, nothing fused; the experts of a projection are one stacked module.

Source: mlx-lm 0.32 (``utils.load_model``: one entry of the configuration for each module path) and its model files, which stack
the experts of a block as ``switch_mlp``.
"""

from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing_mlx import mlx_refusal, mlx_size_bits


def _refusal(candidate: CandidateFormat, layer: Layer) -> str | None:
    return mlx_refusal(candidate, layer.shape)


RUNTIME = RuntimeProfile(
    name="mlx",
    description="MLX on Apple silicon (mlx-lm): symmetric integers in groups, MXFP4; experts of a projection share a format.",
    ignore_kinds=frozenset({"lm_head"}),
    tied_kinds=(),
    tie_experts=False,
    tie_expert_kinds=True,
    size_bits=mlx_size_bits,
    refusal=_refusal,
    exports=("mlx", "json"),
)
