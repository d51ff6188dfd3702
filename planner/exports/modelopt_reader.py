"""Reads ModelOpt's mixed-precision files back into formats, as vLLM resolves them.

vLLM asks for its own modules: a fused projection by its shards, the experts of a block by the prefix that they share. What it
would take from one shard for all, or pass over in silence, is refused here.
"""

from collections.abc import Mapping
from typing import Final

from planner.errors import ExportError
from planner.exports.target import ExportedModel
from planner.runtimes.fused import FUSED
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format

FORMATS: Final = {
    ("FP8_PER_CHANNEL_PER_TOKEN", None): "FP8",
    ("W4A16_NVFP4", 16): "NVFP4",
}
"""Algorithm and group size that the engine runs, and the candidate format that stores the same."""


def read_assignment(document: Mapping[str, object], model: ExportedModel) -> dict[str, CandidateFormat]:
    """Format of every layer of the model, from both files.

    Raises:
        ExportError: files that disagree, an algorithm that the engine does not know, a name that is no layer, or shards of a
            fused projection or experts of a block of which some are not listed or are listed otherwise.
    """
    layers = _layers_of(document)
    names = {layer.name for layer in model.layers}
    unknown = sorted(set(layers) - names)
    if unknown:
        msg = f"quantized_layers names {unknown[0]!r}, which is no layer of the model; the engine passes over it"
        raise ExportError(msg, layers=unknown[:20], rule="unmatched-target")
    found = {name: _format(name, layers.get(name), model) for name in (layer.name for layer in model.layers)}
    _require_whole_modules(found, model)
    return found


def _layers_of(document: Mapping[str, object]) -> Mapping[str, Mapping[str, object]]:
    own = _mapping(_mapping(document.get("hf_quant_config")).get("quantization"))
    merged = _mapping(document.get("quantization_config"))
    layers = own.get("quantized_layers")
    if own.get("quant_algo") != "MIXED_PRECISION" or not isinstance(layers, Mapping) or not layers:
        msg = "hf_quant_config has no MIXED_PRECISION with quantized_layers; export the plan again"
        raise ExportError(msg, rule="schema")
    same = all(merged.get(key) == own[key] for key in ("quant_algo", "quantized_layers"))
    if not same or merged.get("quant_method") != "modelopt" or merged.get("ignore"):
        msg = "quantization_config does not say what hf_quant_config says, and engines read either; export the plan again"
        raise ExportError(msg, rule="two-files")
    return layers


def _format(name: str, entry: Mapping[str, object] | None, model: ExportedModel) -> CandidateFormat:
    if entry is None:
        return get_format(model.unquantized_format)
    size = entry.get("group_size")
    found = FORMATS.get((str(entry.get("quant_algo")).upper(), size if isinstance(size, int) else None))
    if found is None:
        msg = f"{name} has the scheme {dict(entry)}, which the engine would take for an unquantized layer"
        raise ExportError(msg, layers=[name], rule="unknown-scheme")
    return get_format(found)


def _require_whole_modules(found: Mapping[str, CandidateFormat], model: ExportedModel) -> None:
    """Shards of one fused module, and the experts of one block, must resolve to one algorithm."""
    modules: dict[str, list[str]] = {}
    for layer in model.layers:
        parent, _, last = layer.name.rpartition(".")
        if layer.expert is not None:
            modules.setdefault(layer.name.rpartition(f".{layer.expert}.")[0], []).append(layer.name)
        else:
            shards = next((shards for shards in FUSED.values() if last in shards), None)
            modules.setdefault(layer.name if shards is None else f"{parent}.{'|'.join(shards)}", []).append(layer.name)
    for names in modules.values():
        if len({found[name].name for name in names}) > 1:
            said = ", ".join(f"{name}: {found[name].name}" for name in names)
            msg = f"the engine holds these layers in one module, so they must share one scheme, but the file says {said}"
            raise ExportError(msg, layers=names, rule="R1")


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
