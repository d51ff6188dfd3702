"""Reads our JSON for HQQ back into formats, as ``BaseQuantizeConfig`` and ``HQQLinear`` would take it."""

from collections.abc import Mapping
from typing import Any, Final

from planner.errors import ExportError
from planner.exports.target import ExportedModel
from planner.exports.transformers_names import engine_name
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat, ElementType
from sensitivity.formats.registry import all_formats, get_format

FORMAT_VERSION: Final = 1
ARGUMENTS: Final = frozenset({"nbits", "group_size", "axis"})


def read_assignment(document: Mapping[str, Any], model: ExportedModel) -> dict[str, CandidateFormat]:
    """Format of every layer of the model, planned or not.

    Raises:
        ExportError: another kind of document, an entry of no linear module of the model, or settings that HQQ refuses or that are
            no candidate format.
    """
    layers = document.get("layers")
    if document.get("format_version") != FORMAT_VERSION or not isinstance(layers, Mapping):
        msg = f"no settings of layers in format version {FORMAT_VERSION}; export the plan again"
        raise ExportError(msg, rule="schema")
    names = {engine_name(layer.name): layer for layer in model.layers if layer.expert is None}
    unknown = sorted(layers.keys() - names.keys())
    if unknown:
        msg = f"the entry {unknown[0]!r} is no linear module of {model.source} as transformers loads it"
        raise ExportError(msg, rule="unmatched-target")
    found = {layer.name: get_format(model.unquantized_format) for layer in model.layers}
    return found | {names[name].name: _format(names[name], settings) for name, settings in layers.items()}


def _format(layer: Layer, settings: Mapping[str, Any]) -> CandidateFormat:
    bits, size = settings.get("nbits"), settings.get("group_size")
    for fmt in all_formats():
        same = fmt.type is ElementType.INT and not fmt.symmetric and (fmt.num_bits, fmt.group_size) == (bits, size)
        if same and bits != 7 and settings.keys() == ARGUMENTS and settings["axis"] == 1:
            _require_groups(layer, size)
            return fmt
    msg = f"{layer.name}: no candidate format has the settings {dict(settings)}"
    raise ExportError(msg, layers=[layer.name], rule="unknown-scheme")


def _require_groups(layer: Layer, size: int | None) -> None:
    if size is not None and (size % 8 or layer.in_features % size):
        msg = f"{layer.name} has {layer.in_features} inputs: groups of {size} would go over the ends of its rows"
        raise ExportError(msg, layers=[layer.name], rule="divisible-inputs")
