"""Reads a quantization map of optimum-quanto back into formats: exact module names, groups by the number of inputs.

Written independently of the exporter, from quanto's ``QModuleMixin`` and ``requantize``, which passes over unknown names.
"""

from collections.abc import Mapping
from typing import Any, Final

from planner.errors import ExportError
from planner.exports.target import ExportedModel
from planner.exports.transformers_names import engine_name
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format

BY_ROW: Final = {"qint8": "INT8_CHANNEL", "qfloat8": "FP8", "qfloat8_e4m3fn": "FP8"}
BY_GROUP: Final = {"qint2": "INT2", "qint4": "INT4"}


def read_assignment(document: Mapping[str, Any], model: ExportedModel) -> dict[str, CandidateFormat]:
    """Format of every layer of the model, planned or not.

    Args:
        document: the map.
        model: the model whose layers are resolved.

    Raises:
        ExportError: an entry of no linear module of the model, quantized activations, elements that no candidate format has, or
            groups that none has.
    """
    names = {engine_name(layer.name): layer for layer in model.layers if layer.expert is None}
    unknown = sorted(document.keys() - names.keys())
    if unknown:
        msg = f"the entry {unknown[0]!r} is no linear module of {model.source} as transformers loads it; quanto passes over it"
        raise ExportError(msg, rule="unmatched-target")
    found = {layer.name: get_format(model.unquantized_format) for layer in model.layers}
    return found | {names[name].name: _format(names[name], entry) for name, entry in document.items()}


def _format(layer: Layer, entry: Mapping[str, Any]) -> CandidateFormat:
    if entry.get("activations") != "none":
        msg = f"{layer.name} has quantized activations ({entry.get('activations')}), which no plan says"
        raise ExportError(msg, layers=[layer.name], rule="unknown-scheme")
    weights = str(entry.get("weights"))
    if weights in BY_ROW:
        return get_format(BY_ROW[weights])
    group = _groups(layer.in_features)
    if weights not in BY_GROUP or group == "G96":
        msg = f"{layer.name}: no candidate format has {weights} in groups of {group} ({layer.in_features} inputs)"
        raise ExportError(msg, layers=[layer.name], rule="unknown-scheme")
    return get_format(f"{BY_GROUP[weights]}_{group}")


def _groups(inputs: int) -> str:
    size = 128
    if inputs <= size:
        return "CHANNEL"
    while inputs % size and size > 32:
        size -= 32
    return "CHANNEL" if inputs % size else f"G{size}"
