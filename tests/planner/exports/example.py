"""A small Llama as exports see it, and a plan with every kind of format."""

from planner.exports import ExportedModel
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format

HIDDEN, WIDE, KV = 64, 128, 32
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KV, HIDDEN),
    "self_attn.v_proj": (KV, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (WIDE, HIDDEN),
    "mlp.up_proj": (WIDE, HIDDEN),
    "mlp.down_proj": (HIDDEN, WIDE),
}


def example_model(*, blocks: int = 2, head: bool = True, dtype: str = "bfloat16", architecture: str = "llama") -> ExportedModel:
    layers = [
        Layer(f"model.layers.{block}.{path}", path.rpartition(".")[2], block, None, *shape)
        for block in range(blocks)
        for path, shape in SHAPES.items()
    ]
    if head:
        layers.append(Layer("lm_head", "lm_head", None, None, 50, HIDDEN))
    return ExportedModel("f" * 64, "a/model", architecture, dtype, tuple(layers))


def mixture_model() -> ExportedModel:
    layers = [
        Layer(f"model.layers.0.mlp.experts.{expert}.{kind}", kind, 0, expert, HIDDEN, HIDDEN, 0.5)
        for expert in range(2)
        for kind in ("gate_proj", "up_proj", "down_proj")
    ]
    return ExportedModel("e" * 64, "a/mixture", "qwen3_moe", "bfloat16", tuple(layers))


def mixed_plan(model: ExportedModel) -> dict[str, CandidateFormat]:
    """Ties kept, one format of every family, one layer unquantized."""
    by_part = {
        "0.self_attn.q_proj": "INT8_CHANNEL",
        "0.self_attn.k_proj": "INT8_CHANNEL",
        "0.self_attn.v_proj": "INT8_CHANNEL",
        "0.self_attn.o_proj": "FP8",
        "0.mlp.gate_proj": "INT4_G64",
        "0.mlp.up_proj": "INT4_G64",
        "0.mlp.down_proj": "NVFP4",
        "1.self_attn.q_proj": "INT3_G32_ASYM",
        "1.self_attn.k_proj": "INT3_G32_ASYM",
        "1.self_attn.v_proj": "INT3_G32_ASYM",
        "1.self_attn.o_proj": "MXFP4",
        "1.mlp.gate_proj": "FP8_TENSOR",
        "1.mlp.up_proj": "FP8_TENSOR",
        "1.mlp.down_proj": "BF16",
    }
    names = {layer.name for layer in model.layers}
    plan = {f"model.layers.{part}": get_format(fmt) for part, fmt in by_part.items()}
    return {name: fmt for name, fmt in plan.items() if name in names}
