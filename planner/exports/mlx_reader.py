"""Reads mlx-lm's ``quantization`` back into formats, by the rules of its loader and of ``mlx_lm.convert``.

Written independently of the exporter: from module paths of mlx-lm's models to entries. The two disagree on a module without an
entry (the loader looks for its ``scales``, ``convert`` takes the default), so every layer needs one.
"""

import re
from collections.abc import Mapping
from typing import Final

from planner.errors import ExportError
from planner.exports.target import ExportedModel
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import all_formats, get_format

DEFAULTS: Final = frozenset({"group_size", "bits", "mode"})
MODES: Final = {
    "affine": (frozenset({2, 3, 4, 5, 6, 8}), frozenset({32, 64, 128})),
    "mxfp4": (frozenset({4}), frozenset({32})),
}
"""Bits and group sizes that ``mx.quantize`` takes in each mode that we have a format of (1 bit, nvfp4 and mxfp8 apart)."""
_EXPERT: Final = re.compile(r"(.*)\.experts\.\d+\.([^.]+)")
_PROJECTIONS: Final = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}


def read_assignment(document: Mapping[str, object], model: ExportedModel) -> dict[str, CandidateFormat]:
    """Format of every layer of the model, planned or not.

    Args:
        document: a ``config.json``, or what of it concerns quantization.
        model: the model whose layers are resolved.

    Raises:
        ExportError: an entry that names no module of the model, a layer without an entry, bits or a group size that MLX does not
            have or that the layer cannot be stored in, or a ``quantization_config`` that says otherwise.
    """
    entries = document.get("quantization")
    if not isinstance(entries, Mapping) or not entries.keys() >= DEFAULTS:
        msg = "the document has no quantization with group_size, bits and mode; export the plan again"
        raise ExportError(msg, rule="schema")
    if document.get("quantization_config", entries) != entries:
        msg = "quantization and quantization_config differ: mlx-lm reads the first, other readers the second"
        raise ExportError(msg, rule="schema")
    modules = {layer.name: _module(layer.name) for layer in model.layers}
    unknown = sorted(entries.keys() - DEFAULTS - set(modules.values()))
    if unknown:
        msg = f"the entry {unknown[0]!r} names no layer of {model.source}; mlx-lm ignores it silently"
        raise ExportError(msg, rule="unmatched-target")
    return {layer.name: _resolve(layer, modules[layer.name], entries, model) for layer in model.layers}


def _module(name: str) -> str:
    match = _EXPERT.fullmatch(name)
    return name if match is None else f"{match[1]}.switch_mlp.{_PROJECTIONS.get(match[2], match[2])}"


def _resolve(layer: Layer, module: str, entries: Mapping[str, object], model: ExportedModel) -> CandidateFormat:
    entry = entries.get(module)
    if entry is False:
        return get_format(model.unquantized_format)
    if not isinstance(entry, Mapping) or entry.keys() != DEFAULTS:
        msg = f"{layer.name} needs an entry with group_size, bits and mode, or false: without one mlx-lm goes by the file"
        raise ExportError(msg, layers=[layer.name], rule="one-rule-per-layer")
    fmt = _format(layer, entry)
    for group_size in (entry["group_size"], entries["group_size"]):
        if not isinstance(group_size, int) or layer.in_features % group_size:
            msg = f"{layer.name} has {layer.in_features} inputs, not divisible by {group_size}: mlx-lm skips the layer, or stops"
            raise ExportError(msg, layers=[layer.name], rule="divisible-inputs")
    return fmt


def _format(layer: Layer, entry: Mapping[str, object]) -> CandidateFormat:
    mode, bits, group_size = str(entry["mode"]), entry["bits"], entry["group_size"]
    known_bits, known_sizes = MODES.get(mode, (frozenset(), frozenset()))
    if bits not in known_bits or group_size not in known_sizes:
        msg = f"{layer.name}: we have no format that MLX stores in mode {mode} with {bits} bits in groups of {group_size}"
        raise ExportError(msg, layers=[layer.name], rule="unknown-scheme")
    wanted = "MXFP4" if mode == "mxfp4" else f"INT{bits}_G{group_size}"
    return next(fmt for fmt in all_formats() if fmt.name == wanted)
