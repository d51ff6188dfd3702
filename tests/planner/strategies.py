"""Small layers and formats for planning tests."""

from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format

LADDER = ("INT2_G64", "INT3_G64", "INT4_G64", "INT6_G64", "INT8_G64")


def ladder(*names: str) -> tuple[CandidateFormat, ...]:
    return tuple(get_format(name) for name in (names or LADDER))


def llama_layers(blocks: int = 2, hidden: int = 128, ffn: int = 256) -> tuple[Layer, ...]:
    shapes = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (hidden // 2, hidden),
        "self_attn.v_proj": (hidden // 2, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (ffn, hidden),
        "mlp.up_proj": (ffn, hidden),
        "mlp.down_proj": (hidden, ffn),
    }
    return tuple(
        Layer(f"model.layers.{block}.{name}", name.rpartition(".")[2], block, None, *shape)
        for block in range(blocks)
        for name, shape in shapes.items()
    )


def expert_layers(blocks: int = 1, experts: int = 4) -> tuple[Layer, ...]:
    return tuple(
        Layer(f"model.layers.{block}.mlp.experts.{expert}.{kind}", kind, block, expert, 64, 128, 2 / experts)
        for block in range(blocks)
        for expert in range(experts)
        for kind in ("gate_proj", "up_proj")
    )
