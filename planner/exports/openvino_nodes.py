"""Nodes with weights of the graph that OpenVINO makes of a model of transformers, by the names that NNCF knows them by.

As ``openvino.convert_model`` names them, given the model itself and the inputs ``input_ids``, ``attention_mask`` (of four
dimensions) and ``position_ids``. Experts are stacked in the graph and gathered by the tokens that chose them
(``experts_implementation="batched_mm"``; the default of transformers cannot be converted), so no expert is a node of its own.
Source: graphs of OpenVINO 2026.4 and transformers 5.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from planner.exports.target import ExportedModel
from planner.exports.transformers_names import engine_name
from sensitivity.checkpoint.families import FAMILIES

MATMUL, GATHER = "MatMul", "Gather"
_WRAPPED: Final = frozenset({"gpt2", "opt"})
"""Models that take other inputs between the three: the converter puts a module of its own around them."""
_HEAD: Final = "lm_head"
_ROUTERS: Final = {"qwen2_moe": ("gate", "shared_expert_gate")}


@dataclass(frozen=True, slots=True)
class Node:
    """A node that NNCF would compress unless it is ignored.

    Attributes:
        name: friendly name in the graph.
        type: ``MatMul`` or ``Gather``.
        layer: the layer whose weights it has; ``None`` for what is no layer.
    """

    name: str
    type: str
    layer: str | None = None


def weight_nodes(model: ExportedModel) -> list[Node]:
    """Those of the layers in model order, without experts; then head, routers, embedding and experts.

    An embedding of positions and the experts' second stack are further ``Gather`` nodes, which are ignored with the first.
    """
    prefix = "__module.model." if model.architecture in _WRAPPED else "__module."
    family = FAMILIES[model.architecture]
    operation = "addmm" if family.transposed else "linear"
    dense = [layer for layer in model.layers if layer.expert is None]
    found = [
        Node(f"{prefix}{name}/aten::{'linear' if name == _HEAD else operation}/MatMul", MATMUL, layer.name)
        for layer in dense
        for name in [engine_name(layer.name)]
    ]
    if all(engine_name(layer.name) != _HEAD for layer in dense):
        found.append(Node(f"{prefix}{_HEAD}/aten::linear/MatMul", MATMUL))
    for experts in dict.fromkeys(_experts(model)):
        routers = _ROUTERS.get(model.architecture, ("gate",))
        parent = experts.rpartition(".")[0]
        found += [Node(f"{prefix}{parent}.{router}/aten::linear/MatMul", MATMUL) for router in routers]
        found.append(Node(f"{prefix}{experts}/aten::index/Gather", GATHER))
    found.append(Node(f"{prefix}{family.embedding}/aten::embedding/Gather", GATHER))
    return found


def _experts(model: ExportedModel) -> Iterator[str]:
    """The module of the experts of each expert."""
    for layer in model.layers:
        if layer.expert is not None:
            yield engine_name(layer.name).rpartition(f".{layer.expert}.")[0]
