"""Reads an ``FqnToConfig`` back into formats, by torchao's rules of precedence: parameter, module, then patterns in their order.

Written independently of the exporter. A layer has up to three names that engines look for: its own, the parameter that
transformers stacks experts into, and the module that vLLM fuses it into; all must find the same configuration.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from planner.errors import ExportError
from planner.exports.target import ExportedModel
from planner.exports.transformers_names import engine_name
from planner.runtimes.fused import FUSED
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import all_formats, get_format

REGEX: Final = "re:"
VLLM_FUSES: Final = {kind: name for name, members in FUSED.items() for kind in members}
_EXPERT: Final = re.compile(r"(.+)\.(?:block_sparse_moe|mlp)\.experts\.\d+\.(\w+)")
_STACKED: Final = {"down_proj": "down_proj", "w2": "down_proj"}


def read_assignment(document: Mapping[str, Any], model: ExportedModel) -> dict[str, CandidateFormat]:
    """Format of every layer of the model, planned or not.

    Args:
        document: what holds the ``quantization_config``.
        model: the model whose layers are resolved.

    Raises:
        ExportError: a layer whose names are matched by no key, by several patterns, or differently; a key that matches nothing; a
            configuration that is no candidate format, or whose groups do not divide the layer's inputs.
    """
    keys = _keys(document)
    unused = set(keys)
    found: dict[str, CandidateFormat] = {}
    for layer in model.layers:
        names = list(_names(layer))
        matched = [_match(name, keys, layer) for name in names]
        unused -= {key for key in matched if key is not None}
        configs = [keys[key] if key is not None else None for key in matched]
        if matched[0] is None or any(config != configs[0] for config in configs):
            _refuse(layer, names, matched)
        found[layer.name] = get_format(model.unquantized_format) if configs[0] is None else _format(layer, configs[0])
    if unused:
        msg = f"the key {min(unused)!r} matches no layer of {model.source}; torchao ignores it silently"
        raise ExportError(msg, rule="unmatched-target")
    return found


def _keys(document: Mapping[str, Any]) -> dict[str, Any]:
    config = document.get("quantization_config") or {}
    kinds = config.get("quant_type") or {}
    if config.get("quant_method") != "torchao" or set(kinds) != {"default"} or kinds["default"].get("_type") != "FqnToConfig":
        msg = "the document has no torchao quant_type with an FqnToConfig as its only, default entry; export the plan again"
        raise ExportError(msg, rule="schema")
    keys = dict(kinds["default"]["_data"]["fqn_to_config"])
    if "_default" in keys:
        msg = "the key _default would quantize layers that no other key names, and torchao is about to drop it"
        raise ExportError(msg, rule="one-rule-per-layer")
    return keys


def _names(layer: Layer) -> Iterator[str]:
    """Names that engines look up, each a module's or a parameter's: transformers' first."""
    match = _EXPERT.fullmatch(layer.name)
    if match is not None:
        yield f"{match[1]}.mlp.experts.{_STACKED.get(match[2], 'gate_up_proj')}"
        return
    name = engine_name(layer.name)
    yield name
    parent, _, kind = name.rpartition(".")
    if kind in VLLM_FUSES:
        yield f"{parent}.{VLLM_FUSES[kind]}"


def _match(name: str, keys: Mapping[str, Any], layer: Layer) -> str | None:
    """The key that torchao takes for a module or parameter of this name."""
    exact = [key for key in (f"{name}.weight", name) if key in keys]
    if exact:
        return exact[0]
    parameters, modules = (
        [key for key in keys if key.startswith(REGEX) and re.fullmatch(key.removeprefix(REGEX), one) is not None]
        for one in (f"{name}.weight", name)
    )
    patterns = list(dict.fromkeys(parameters + modules))
    if len(patterns) > 1:
        msg = f"{layer.name} is matched by {' and '.join(patterns)}: transformers sorts the keys, so the first may be another one"
        raise ExportError(msg, layers=[layer.name], rule="one-rule-per-layer")
    return patterns[0] if patterns else None


def _refuse(layer: Layer, names: list[str], matched: list[str | None]) -> None:
    found = ", ".join(f"{name} by {key!r}" for name, key in zip(names, matched, strict=True))
    rule = "one-rule-per-layer" if matched[0] is None else "R2"
    msg = f"{layer.name} needs one configuration under every name that engines look for (rule {rule}), but found is {found}"
    raise ExportError(msg, layers=[layer.name], rule=rule)


def _format(layer: Layer, config: Mapping[str, Any]) -> CandidateFormat:
    wanted = _described(config)
    for fmt in all_formats():
        scale = "row" if fmt.strategy.value == "channel" else fmt.group_size or fmt.strategy.value
        if fmt.type.value in {"int", "float"} and (fmt.type.value, fmt.num_bits, fmt.symmetric, scale) == wanted:
            if fmt.group_size is not None and layer.in_features % fmt.group_size:
                msg = f"{layer.name} has {layer.in_features} inputs, not divisible by {fmt.group_size}: torchao stops"
                raise ExportError(msg, layers=[layer.name], rule="divisible-inputs")
            return fmt
    msg = f"{layer.name}: no candidate format is stored by {config.get('_type')} with {dict(config.get('_data', {}))}"
    raise ExportError(msg, layers=[layer.name], rule="unknown-scheme")


def _described(config: Mapping[str, Any]) -> tuple[str, int, bool, str | int] | None:
    """Element type, bits, symmetry, and what shares a scale: ``row``, ``tensor`` or so many elements."""
    data = config["_data"]
    scale = _shared(data.get("granularity") or {})
    if config["_version"] != 2 or scale is None:
        return None
    match config["_type"]:
        case "Int8WeightOnlyConfig" if scale != "tensor":
            return "int", 8, True, scale
        case "Float8WeightOnlyConfig" if data["weight_dtype"]["_data"] == "float8_e4m3fn":
            return "float", 8, True, scale
        case "IntxWeightOnlyConfig" if data["intx_packing_format"]["_data"] == "UNPACKED_TO_INT8":
            bits, symmetric = int(data["weight_dtype"]["_data"].removeprefix("int")), data["mapping_type"]["_data"] == "SYMMETRIC"
            return ("int", bits, symmetric, scale) if (bits, symmetric) != (8, True) else None
    return None


def _shared(granularity: Mapping[str, Any]) -> str | int | None:
    match granularity.get("_type"), granularity.get("_data"):
        case "PerRow", {"dim": -1}:
            return "row"
        case "PerAxis", {"axis": 0}:
            return "row"
        case "PerTensor", _:
            return "tensor"
        case "PerGroup", {"group_size": int(size)}:
            return size
    return None
