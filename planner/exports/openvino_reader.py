"""Reads NNCF's passes back: each compresses the layers that it does not ignore and that none before it has compressed."""

from collections.abc import Mapping

from planner.errors import ExportError
from planner.exports.target import ExportedModel
from planner.runtimes.openvino import MODES
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format

_PREFIX, _SUFFIX = "__module.", "/aten::linear/MatMul"
_BY_ROW = ("int8_sym", "int8_asym")


def read_assignment(passes: object, model: ExportedModel) -> dict[str, CandidateFormat]:
    """Format of every layer of the model.

    Raises:
        ExportError: an ignored name that is no layer, a layer that two passes would compress, settings that NNCF refuses or that
            are no candidate format, or a pass that compresses nothing.
    """
    if not isinstance(passes, list) or not passes:
        msg = "the document has no passes; export the plan again"
        raise ExportError(msg, rule="schema")
    names = [layer.name for layer in model.layers]
    found: dict[str, CandidateFormat] = {}
    for one in passes:
        ignored = {_layer_of(str(node)) for node in one.get("ignored_scope", ())}
        unknown = sorted(ignored - set(names))
        compressed = [name for name in names if name not in ignored]
        twice = [name for name in compressed if name in found]
        if unknown or twice or not compressed:
            fault = (
                f"ignores {unknown[0]}, which is no layer"
                if unknown
                else f"compresses {twice[0]} again"
                if twice
                else "does nothing"
            )
            msg = f"the pass {one.get('mode')} {fault}; every layer needs exactly one pass that does not ignore it, or none"
            raise ExportError(msg, layers=[*unknown, *twice][:20], rule="one-rule-per-layer")
        found.update(dict.fromkeys(compressed, _format(one)))
    return {name: found.get(name) or get_format(model.unquantized_format) for name in names}


def _layer_of(node: str) -> str:
    if not node.startswith(_PREFIX) or not node.endswith(_SUFFIX):
        msg = f"{node!r} is no node of a linear layer as openvino.convert_model names it"
        raise ExportError(msg, rule="unmatched-target")
    return node.removeprefix(_PREFIX).removesuffix(_SUFFIX)


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
