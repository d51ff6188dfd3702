"""Reads AutoRound's two configurations back into formats: a checkpoint's (``extra_config``), its quantizer's (``layer_config``).

Written independently of the exporter. In both, an exact name of a layer goes before a pattern, and the first pattern that is
found anywhere in a name decides. A checkpoint's patterns are regular expressions as they stand; the quantizer's go through
AutoRound's ``to_standard_regex`` first. Layers of the listed blocks that nothing names have the file's own format.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

from planner.errors import ExportError
from planner.exports.target import ExportedModel
from planner.exports.transformers_names import engine_layers
from sensitivity.formats.candidate import CandidateFormat, ElementType
from sensitivity.formats.registry import all_formats, get_format

Entry = Mapping[str, object]

FIXED: Final[Entry] = {"quant_method": "auto-round", "packing_format": "auto_round:auto_gptq", "data_type": "int"}
KEYS: Final = frozenset({"bits", "group_size", "sym", "data_type"})
REGEX_SIGNS: Final = (".*", "^", "$", "|", "(", ")", "[", "]", "?", "+")
UNQUANTIZED_BITS: Final = 16


def read_assignment(document: Mapping[str, object], model: ExportedModel) -> dict[str, CandidateFormat]:
    """Format of every layer of the model, planned or not.

    Args:
        document: ``quantization_config`` and ``layer_config``.
        model: the model whose layers are resolved.

    Raises:
        ExportError: a setting that changes how codes are read, an entry that AutoRound refuses or that matches nothing, a layer
            that the two configurations read differently or that ``layer_config`` leaves to whatever scheme it is used with, or a
            scheme that is no candidate format.
    """
    config = _entry(document.get("quantization_config"), "quantization_config")
    for key, value in FIXED.items():
        if config.get(key) != value:
            msg = f"{key} is {config.get(key)!r}: codes are read otherwise than they were written, with {value!r}"
            raise ExportError(msg, rule="schema")
    layers = engine_layers(model.layers)
    names = [layer.name for layer in layers]
    base = {key: config.get(key) for key in KEYS}
    in_file = _resolve(_entries(config.get("extra_config"), "extra_config"), names, re.compile)
    quantizer = _resolve(_entries(document.get("layer_config"), "layer_config"), names, _standard_regex)
    blocks = str(config.get("block_name_to_quantize", "")).split(",")
    found: dict[str, CandidateFormat] = {}
    for layer, name in zip(model.layers, names, strict=True):
        default = base if name.startswith(tuple(blocks)) else {"bits": UNQUANTIZED_BITS}
        fmt = _format(name, {**base, **in_file.get(name, default)}, model)
        if name not in quantizer or fmt != _format(name, {**base, **quantizer[name]}, model):
            msg = f"{name} is read as {fmt.name} from the checkpoint, but layer_config says {dict(quantizer.get(name, {}))}"
            raise ExportError(msg, layers=[layer.name], rule="two-readings")
        found[layer.name] = fmt
    return found


def _entries(value: object, what: str) -> dict[str, Entry]:
    return {str(key): _entry(entry, f"{key!r} of {what}") for key, entry in _entry(value, what).items()}


def _entry(value: object, what: str) -> Entry:
    if isinstance(value, Mapping):
        return value
    msg = f"{what} is {value!r}, not an object; export the plan again"
    raise ExportError(msg, rule="schema")


def _resolve(entries: Mapping[str, Entry], names: list[str], compiled: Callable[[str], re.Pattern[str]]) -> dict[str, Entry]:
    """The entry of each layer that has one."""
    known = set(names)
    found = {key: _checked(key, entry) for key, entry in entries.items() if key in known}
    for key, entry in entries.items():
        if key in known:
            continue
        matched = _search(key, names, compiled)
        if not matched and _checked(key, entry).get("bits") != UNQUANTIZED_BITS:
            msg = f"{key!r} matches no layer of the model; AutoRound only warns, and then looks for a module of that name"
            raise ExportError(msg, rule="unmatched-target")
        for name in matched:
            found.setdefault(name, entry)
    return found


def _checked(key: str, entry: Entry) -> Entry:
    unknown = sorted(set(entry) - KEYS)
    if unknown:
        msg = f"{key!r} sets {', '.join(unknown)}; known are {', '.join(sorted(KEYS))}"
        raise ExportError(msg, rule="unknown-key")
    return entry


def _search(key: str, names: list[str], compiled: Callable[[str], re.Pattern[str]]) -> list[str]:
    try:
        pattern = compiled(key)
    except re.error as error:
        msg = f"{key!r} is no name of a layer and no regular expression: {error}"
        raise ExportError(msg, rule="pattern") from error
    return [name for name in names if pattern.search(name)]


def _standard_regex(key: str) -> re.Pattern[str]:
    """AutoRound's reading of a pattern: bare dots are escaped, even escaped ones, and ends without an anchor are open."""
    text = re.sub(r"\.(?!\*)", r"\\.", key) if any(sign in key for sign in REGEX_SIGNS) else re.escape(key)
    start = "" if text.startswith(("^", ".*")) else ".*"
    end = "" if text.endswith(("$", ".*")) else ".*"
    return re.compile(start + text + end)


def _format(name: str, words: Entry, model: ExportedModel) -> CandidateFormat:
    if words.get("bits") == UNQUANTIZED_BITS:
        return get_format(model.unquantized_format)
    if words.get("sym") is not True or words.get("data_type") != "int":
        msg = f"{name} is {dict(words)}: files of symmetric and asymmetric layers, or of other than integers, do not load"
        raise ExportError(msg, layers=[name], rule="one-symmetry")
    fmt = _integers().get((words.get("bits"), words.get("group_size")))
    if fmt is None:
        msg = f"no candidate format has the scheme {dict(words)} of {name}; `bitplan formats` and `GET /v1/formats` list them"
        raise ExportError(msg, layers=[name], rule="unknown-scheme")
    return fmt


@cache
def _integers() -> dict[tuple[object, object], CandidateFormat]:
    """Symmetric integers by bits and group size, −1 for a whole row."""
    found = [fmt for fmt in all_formats() if fmt.type is ElementType.INT and fmt.symmetric]
    return {(fmt.num_bits, fmt.group_size or -1): fmt for fmt in found}
