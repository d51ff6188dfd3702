"""The caches of a plan in the words of the engine that will keep them, read back from the document like the weights.

An engine that keeps one type for all caches, or one for all keys and one for all values, is told it where it is started
(``serve``); compressed-tensors and ModelOpt have a place for it in their configurations as well. Targets that know nothing of
caches take plans whose caches stay at 16 bits.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from planner.errors import ExportError
from planner.exports.target import Json
from planner.runtimes.kv_rules import UNQUANTIZED
from planner.runtimes.profile import RuntimeProfile
from planner.schemas.choices import KVChoice
from sensitivity.formats.families import get_cell_format
from sensitivity.formats.kv_cache import CachedTensor, KVCacheFormat, without_tensor

FP8_SCHEME: Final = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False, "symmetric": True}
"""``kv_cache_scheme`` of compressed-tensors; without scales in the checkpoint vLLM takes 1, as the cells were measured."""
MODELOPT_SCHEME: Final = {"num_bits": 8, "type": "float", "dynamic": False}
"""``kv_cache_scheme`` as ModelOpt writes it into ``config.json``; its own file says ``FP8``."""
VLLM_FLAG: Final = "--kv-cache-dtype fp8"
SCHEMES: Final = {"compressed-tensors": FP8_SCHEME, "modelopt": MODELOPT_SCHEME}
LLAMA_TYPES: Final = {"BF16": "bf16", "FP16": "f16", "Q8_0": "q8_0", "Q4_0": "q4_0"}


@dataclass(frozen=True, slots=True)
class _Caches:
    """Formats of the caches without the tensor, by tensor."""

    of_tensor: Mapping[str, frozenset[str]]

    def one(self, tensor: str) -> str:
        """The format of all keys, or of all values."""
        return next(iter(self.of_tensor[tensor]))

    @property
    def is_plain(self) -> bool:
        """Nothing is quantized."""
        return all(names <= UNQUANTIZED for names in self.of_tensor.values())


def with_caches(document: Json, choices: Sequence[KVChoice], *, target: str, runtime: RuntimeProfile) -> Json:
    """The document with what the plan gives the caches; as it is where caches are not planned.

    Args:
        document: what the target's exporter wrote.
        choices: of the plan's caches.
        target: name of the target.
        runtime: the engine that keeps the caches.

    Raises:
        ExportError: the engine cannot keep them so, the target cannot express them, or would read them differently; names the
            caches and the rule.
    """
    if not choices:
        return document
    require_kept(choices, runtime)
    found = _written(document, choices, target)
    read = read_caches(found, [choice.layer for choice in choices], target=target)
    wrong = next((choice for choice in choices if not _is_read(read[choice.layer], choice.format)), None)
    if wrong is not None:
        msg = f"{wrong.layer} was planned as {wrong.format} but its {target} export reads {read[wrong.layer]}; report this"
        raise ExportError(msg, layers=[wrong.layer], rule="round-trip")
    return found


def require_kept(choices: Sequence[KVChoice], runtime: RuntimeProfile) -> None:
    """Check the formats that the engine has for caches, and which caches share one.

    Raises:
        ExportError: it cannot keep them so.
    """
    tied: dict[Hashable, KVChoice] = {}
    for choice in choices:
        reason = runtime.kv.refusal(without_tensor(choice.format), runtime.name)
        if reason is not None:
            msg = f"{choice.layer} cannot be kept in {choice.format}: {reason}. Plan the caches for another runtime, or anew"
            raise ExportError(msg, layers=[choice.layer], rule="runtime")
        first = tied.setdefault(runtime.kv.group_key(choice.block, CachedTensor(choice.tensor)), choice)
        if _kept_as(first) != _kept_as(choice):
            msg = (
                f"{runtime.name} keeps {first.layer} and {choice.layer} in one format (rule R1), but the plan says "
                f"{first.format} and {choice.format}"
            )
            raise ExportError(msg, layers=[first.layer, choice.layer], rule="R1")


def _kept_as(choice: KVChoice) -> str:
    name = without_tensor(choice.format)
    return "unquantized" if name in UNQUANTIZED else name


def _is_read(found: str | None, planned: str) -> bool:
    """A target that says nothing of a cache leaves it unquantized, which is right for such a one alone."""
    return without_tensor(planned) in UNQUANTIZED if found is None else found == planned


def _written(document: Json, choices: Sequence[KVChoice], target: str) -> Json:
    if target == "json":
        return document | {"kv_cache": {choice.layer: _entry(choice) for choice in choices}}
    caches = _caches(choices)
    if target == "llama.cpp":
        return document | {"serve": _llama_flags(caches, target)}
    if caches.is_plain:
        return document
    if target in SCHEMES and all(names == {"FP8"} for names in caches.of_tensor.values()):
        config = {**_mapping(document, "quantization_config"), "kv_cache_scheme": SCHEMES[target]}
        return _in_modelopts_file(document) | {"quantization_config": config, "serve": VLLM_FLAG}
    names = ", ".join(sorted({choice.format for choice in choices}))
    msg = f"{target} has no words for caches in {names}: plan them for a runtime that has (--runtime), or export to json"
    raise ExportError(msg, rule="kv-cache", layers=[choice.layer for choice in choices[:20]])


def _in_modelopts_file(document: Json) -> Json:
    """What ModelOpt's own file says of FP8 caches, where the document has one."""
    file = _mapping(document, "hf_quant_config")
    quantization = {**_mapping(file, "quantization"), "kv_cache_quant_algo": "FP8"}
    return document | ({"hf_quant_config": {**file, "quantization": quantization}} if file else {})


def read_caches(document: Json, layers: Sequence[str], *, target: str) -> dict[str, str | None]:
    """Format of each cache by the document alone; ``None`` for what the engine keeps by default, 16 bits an element."""
    if target == "json":
        entries = _mapping(document, "kv_cache")
        return {layer: str(_mapping(entries, layer)["format"]) for layer in layers}
    if target == "llama.cpp":
        words = str(document["serve"]).split()
        types = {name: word for word, name in LLAMA_TYPES.items()}
        flags = {"k_cache": "--cache-type-k", "v_cache": "--cache-type-v"}
        return {
            layer: f"{kind[0].upper()}_{types[words[words.index(flags[kind]) + 1]]}"
            for layer in layers
            for kind in [layer.rpartition(".")[2]]
        }
    eight = _is_fp8(document, target)
    return {layer: f"{layer.rpartition('.')[2][0].upper()}_FP8" if eight else None for layer in layers}


def _is_fp8(document: Json, target: str) -> bool:
    """Whether vLLM keeps its cache in FP8, by the configuration, and by ModelOpt's own file, which must say the same."""
    scheme = _mapping(document, "quantization_config").get("kv_cache_scheme")
    found = isinstance(scheme, Mapping) and (scheme.get("num_bits"), scheme.get("type")) == (8, "float")
    own = _mapping(_mapping(document, "hf_quant_config"), "quantization").get("kv_cache_quant_algo")
    if target == "modelopt" and (own == "FP8") is not found:
        msg = (
            f"hf_quant_config keeps caches in {own}, quantization_config in {scheme}; engines read either. Export the plan again"
        )
        raise ExportError(msg, rule="two-files")
    return found


def _mapping(document: Json, key: str) -> Json:
    found = document.get(key)
    return dict(found) if isinstance(found, Mapping) else {}


def _caches(choices: Sequence[KVChoice]) -> _Caches:
    found: dict[str, set[str]] = {}
    for choice in choices:
        found.setdefault(choice.tensor, set()).add(without_tensor(choice.format))
    return _Caches({tensor: frozenset(names) for tensor, names in found.items()})


def _llama_flags(caches: _Caches, target: str) -> str:
    for tensor, names in caches.of_tensor.items():
        unknown = names - LLAMA_TYPES.keys()
        if unknown or len(names) > 1:
            msg = (
                f"{target} keeps all {tensor} caches in one of {', '.join(LLAMA_TYPES)}, not in {', '.join(sorted(names))}: "
                f"plan for runtime llama.cpp"
            )
            raise ExportError(msg, rule="kv-cache")
    keys, values = (LLAMA_TYPES[caches.one(tensor)] for tensor in ("K", "V"))
    attention = " --flash-attn on" if caches.one("V").startswith("Q") else ""  # which quantized values need
    return f"llama-server --model model.gguf --cache-type-k {keys} --cache-type-v {values}{attention}"


def _entry(choice: KVChoice) -> Json:
    fmt = get_cell_format(choice.format)
    assert isinstance(fmt, KVCacheFormat)  # noqa: S101  (a plan's caches have no others)
    return {
        "format": fmt.name,
        "bits": fmt.num_bits,
        "group_size": fmt.group_size or -1,
        "type": fmt.type.value,
        "strategy": fmt.strategy.value,
        "size_bits": choice.size_bits,
    }
