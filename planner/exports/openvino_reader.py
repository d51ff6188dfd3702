"""Reads NNCF's passes back: each compresses every node with weights that it does not ignore and that none before it compressed.

Nodes are ignored by exact names and by types; NNCF stops at a name or a type that the graph does not have. It compresses nodes
that are no layers as well (embedding, head, routers, stacked experts); a pass that reaches one is not what was planned.
"""

from collections.abc import Mapping, Sequence

from planner.errors import ExportError
from planner.exports.openvino_nodes import Node, weight_nodes
from planner.exports.target import ExportedModel
from planner.runtimes.openvino import MODES
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format

_BY_ROW = ("int8_sym", "int8_asym")
_SCOPE = frozenset({"names", "types"})


def read_assignment(passes: object, model: ExportedModel) -> dict[str, CandidateFormat]:
    """Format of every layer of the model.

    Raises:
        ExportError: an ignored name or type that the graph does not have, a layer that two passes would compress, a pass that
            would compress what is no layer, or nothing; settings that NNCF refuses or that are no candidate format.
    """
    if not isinstance(passes, list) or not passes:
        msg = "the document has no passes; export the plan again"
        raise ExportError(msg, rule="schema")
    nodes = weight_nodes(model)
    found: dict[str, CandidateFormat] = {}
    for one in passes:
        fmt = _format(one)
        for layer in _compressed(one, nodes):
            if layer in found:
                msg = f"the pass {one.get('mode')} compresses {layer} again; at most one pass may not ignore a layer"
                raise ExportError(msg, layers=[layer], rule="one-rule-per-layer")
            found[layer] = fmt
    return {layer.name: found.get(layer.name) or get_format(model.unquantized_format) for layer in model.layers}


def _compressed(one: Mapping[str, object], nodes: Sequence[Node]) -> list[str]:
    """Layers that a pass compresses."""
    scope = one.get("ignored_scope")
    if not isinstance(scope, Mapping) or not scope.keys() <= _SCOPE:
        msg = f"the pass {one.get('mode')} has no ignored_scope of names and types; export the plan again"
        raise ExportError(msg, rule="schema")
    names, types = set(scope.get("names", ())), set(scope.get("types", ()))
    unknown = sorted(names - {node.name for node in nodes}) + sorted(types - {node.type for node in nodes})
    if unknown:
        msg = f"the pass {one.get('mode')} ignores {unknown[0]}, which is no node of the graph: NNCF stops there"
        raise ExportError(msg, rule="unmatched-target")
    reached = [node for node in nodes if node.name not in names and node.type not in types]
    strange = next((node.name for node in reached if node.layer is None), None)
    if strange is not None or not reached:
        msg = f"the pass {one.get('mode')} compresses {strange or 'nothing'}, and only layers of the plan may be compressed"
        raise ExportError(msg, rule="unplanned-node")
    return [node.layer for node in reached if node.layer is not None]


def _format(one: Mapping[str, object]) -> CandidateFormat:
    mode = str(one.get("mode"))
    rows = mode in _BY_ROW
    if rows is ("group_size" in one) or (not rows and (one.get("ratio") != 1.0 or one.get("all_layers") is not True)):
        msg = f"{mode} does not take the other arguments of its pass, or would leave layers to another mode"
        raise ExportError(msg, rule="schema")
    size = one.get("group_size", -1)
    for name, settings in MODES.items():
        if settings == (mode, size):
            return get_format(name)
    msg = f"no candidate format is {mode} in groups of {size}"
    raise ExportError(msg, rule="unknown-scheme")
