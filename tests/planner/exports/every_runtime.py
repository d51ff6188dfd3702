"""Models of several shapes, and random plans that a runtime can and cannot load."""

import random
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from planner.exports import ExportedModel
from planner.runtimes import RUNTIMES, RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.foreign import EXL3_BITS, trellis
from sensitivity.formats.packing import compressed_tensors_refusal
from sensitivity.formats.registry import all_formats, get_format

HIDDEN, WIDE, KV = 256, 512, 128
ATTENTION = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KV, HIDDEN),
    "self_attn.v_proj": (KV, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
}
DENSE = {**ATTENTION, "mlp.gate_proj": (WIDE, HIDDEN), "mlp.up_proj": (WIDE, HIDDEN), "mlp.down_proj": (HIDDEN, WIDE)}
FUSED = {
    "self_attn.qkv_proj": (HIDDEN + 2 * KV, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_up_proj": (2 * WIDE, HIDDEN),
    "mlp.down_proj": (HIDDEN, WIDE),
}
LINEAR = {
    **{f"linear_attn.in_proj_{part}": (out, HIDDEN) for part, out in {"qkv": 3 * HIDDEN, "z": HIDDEN, "b": 32, "a": 32}.items()},
    "linear_attn.out_proj": (HIDDEN, HIDDEN),
}
"""Gated linear attention, of whose layers two pairs are fused; some blocks of a hybrid model have it."""
EXPERTS = {f"mlp.experts.{expert}.{kind}_proj": (HIDDEN, HIDDEN) for expert in range(4) for kind in ("gate", "up", "down")}
NARROW = {path: (out - 32, columns - 32) for path, (out, columns) in DENSE.items()}
"""Columns that 32 divides, and 64, 128 and 256 do not."""

Plan = dict[str, CandidateFormat]
NOTHING_LEFT_OUT = frozenset({"exllamav3"})
"""Runtimes that quantize every layer of a block."""


KNOWN = (*all_formats(), *map(trellis, EXL3_BITS))
"""Candidate formats, and those of another tool that a runtime loads."""


def _model(architecture: str, blocks: int, roles: Mapping[str, tuple[int, int]]) -> ExportedModel:
    layers = [_layer(block, path, shape) for block in range(blocks) for path, shape in roles.items()]
    layers.append(Layer("lm_head", "lm_head", None, None, 512, layers[0].in_features))
    return ExportedModel("f" * 64, f"a/{architecture}", architecture, "bfloat16", tuple(layers))


def _layer(block: int, path: str, shape: tuple[int, int]) -> Layer:
    parts = path.split(".")
    expert = int(parts[2]) if "experts" in parts else None
    return Layer(f"model.layers.{block}.{path}", parts[-1], block, expert, *shape, active_fraction=1.0 if expert is None else 0.5)


MODELS = {
    "dense": _model("llama", 12, DENSE),
    "mixture": _model("qwen3_moe", 2, {**ATTENTION, **EXPERTS}),
    "fused": _model("phi3", 12, FUSED),
    "narrow": _model("llama", 2, NARROW),
}
"""Twelve blocks have a block 1 and blocks 10 and 11."""
SHORT = _model("llama", 2, DENSE)
HYBRID = _model("qwen3", 2, {**LINEAR, "mlp.gate_proj": (WIDE, HIDDEN), "mlp.up_proj": (WIDE, HIDDEN)})

TARGETS = tuple(
    (name, target) for name, runtime in RUNTIMES.items() for target in runtime.exports if target != "json" or name == "generic"
)
"""Every runtime with every target that it loads; our own JSON, which says the same for all of them, with one."""


def groups_of(runtime: RuntimeProfile, model: ExportedModel) -> list[list[Layer]]:
    """The layers that share a format."""
    return [[model.layers[index] for index in group] for group in runtime.groups(model.layers)]


def legal_formats(runtime: RuntimeProfile, target: str, layers: Sequence[Layer]) -> list[CandidateFormat]:
    """Quantized formats that all of these layers may take; no runtime in particular leaves it to the target what it can say."""
    found = [fmt for fmt in KNOWN if fmt.is_quantized and all(runtime.refusal(fmt, layer) is None for layer in layers)]
    if (runtime.name, target) == ("generic", "compressed-tensors"):
        found = [fmt for fmt in found if all(compressed_tensors_refusal(fmt, layer.shape) is None for layer in layers)]
    return found


def legal_plan(runtime: RuntimeProfile, target: str, model: ExportedModel, chooser: random.Random) -> Plan:
    """A format for each group of layers: few formats or many, some groups unquantized, some left out, at least one quantized.

    Layers that the runtime leaves alone unless it is asked are left out. Empty where no layer has a legal format.
    """
    groups = [group for group in groups_of(runtime, model) if group[0].kind not in runtime.ignore_kinds]
    legal = [legal_formats(runtime, target, group) for group in groups]
    quantizable = [index for index, formats in enumerate(legal) if formats]
    if not quantizable:
        return {}
    menu = {fmt.name for fmt in chooser.sample(all_formats(), chooser.choice((3, 8, len(all_formats()))))}
    whole, surely = chooser.random() / 2, chooser.choice(quantizable)
    if runtime.name in NOTHING_LEFT_OUT:
        whole = -1.0
    plan: Plan = {}
    for index, group in enumerate(groups):
        choices = [fmt for fmt in legal[index] if fmt.name in menu] or legal[index]
        if choices and (index == surely or chooser.random() > whole):
            plan.update(dict.fromkeys((layer.name for layer in group), chooser.choice(choices)))
        elif chooser.random() < 0.5:
            plan.update(dict.fromkeys((layer.name for layer in group), get_format(model.unquantized_format)))
    return plan


def as_read(plan: Plan, model: ExportedModel) -> Plan:
    """The format of every layer, planned or not."""
    return {layer.name: plan.get(layer.name, get_format(model.unquantized_format)) for layer in model.layers}


Container = dict[str, object] | list[object]


def rules_of(document: object, around: Mapping[str, object] = MappingProxyType({})) -> Iterator[tuple[Container, str, bool]]:
    """Where a document names layers of a block or patterns of them.

    Yields:
        The container, the name in it, and whether the document says as much without it: the layer stays as it is, or has what
        the settings around say of all layers.
    """
    if isinstance(document, dict):
        settings = {**around, **document}
        for key, value in document.items():
            if "layers" in key and "_proj" in key:
                said = value.items() if isinstance(value, dict) else ()
                yield document, key, value is None or (bool(said) and all(settings.get(name) == one for name, one in said))
            else:
                yield from rules_of(value, {name: one for name, one in document.items() if not isinstance(one, dict | list)})
    elif isinstance(document, list):
        yield from ((document, item, False) for item in document if isinstance(item, str) and "layers" in item)
        for value in document:
            yield from rules_of(value)
