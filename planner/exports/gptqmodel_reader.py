"""Reads GPTQModel's ``quantization_config`` back into formats, by the rules that GPTQModel and vLLM agree on.

Written independently of the exporter: it knows rules and their matching, not how the exporter chooses them. Patterns are
matched from the start of a name on. GPTQModel moves ``-:`` rules to the front and vLLM does not, so a layer must be matched
by exactly one rule: then the order never matters, and nothing falls through to the file's own format unnoticed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from planner.errors import ExportError
from planner.exports.gptqmodel_patterns import fused_modules
from planner.exports.target import ExportedModel
from planner.exports.transformers_names import engine_layers
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat, ElementType
from sensitivity.formats.registry import all_formats, get_format

PLANAR_ONLY: Final = frozenset({5, 6, 7})
OVERRIDES: Final = frozenset({"bits", "group_size"})
FIXED: Final[Mapping[str, object]] = {"quant_method": "gptq", "sym": True, "desc_act": False, "pack_dtype": "int32"}


@dataclass(frozen=True, slots=True)
class _Rule:
    """One entry of ``dynamic``; ``words`` is ``None`` for a rule that leaves layers alone."""

    text: str
    pattern: re.Pattern[str]
    words: tuple[object, object] | None

    def matches(self, name: str) -> bool:
        return self.pattern.match(name) is not None


def read_assignment(config: Mapping[str, object], model: ExportedModel) -> dict[str, CandidateFormat]:
    """Format of every layer of the model, planned or not.

    Args:
        config: a ``quantization_config`` with ``dynamic`` rules.
        model: the model whose layers are resolved.

    Raises:
        ExportError: a setting that changes how codes are read, an override that GPTQModel would ignore, a pattern that is no
            regular expression or matches nothing, a layer of no or of two rules, or a fused module that vLLM reads otherwise.
    """
    _require_settings(config)
    rules = _rules(config)
    _require_layout(config, rules)
    layers = engine_layers(model.layers)
    names = [layer.name for layer in layers]
    _require_used(rules, names)
    chosen = {layer.name: _only_rule(layer.name, rules) for layer in layers}
    _require_heads_loaded(config, layers, chosen)
    _require_fused(layers, chosen, rules)
    rest = get_format(model.unquantized_format)
    found = [rest if (words := chosen[name].words) is None else _format(*words) for name in names]
    return {layer.name: fmt for layer, fmt in zip(model.layers, found, strict=True)}


def _require_settings(config: Mapping[str, object]) -> None:
    for key, value in FIXED.items():
        if config.get(key) != value:
            msg = f"{key} is {config.get(key)!r}: codes are read otherwise than they were written, with {value!r}"
            raise ExportError(msg, rule="schema")


def _rules(config: Mapping[str, object]) -> list[_Rule]:
    dynamic = config.get("dynamic")
    if not isinstance(dynamic, Mapping):
        msg = "quantization_config has no dynamic rules; export the plan again"
        raise ExportError(msg, rule="schema")
    return [_rule(str(key), overrides, config) for key, overrides in dynamic.items()]


def _rule(key: str, overrides: object, config: Mapping[str, object]) -> _Rule:
    if not isinstance(overrides, Mapping):
        msg = f"the rule {key!r} has {overrides!r} where GPTQModel needs an object"
        raise ExportError(msg, rule="schema")
    unknown = sorted(set(overrides) - OVERRIDES)
    if unknown:
        msg = f"the rule {key!r} overrides {', '.join(unknown)}, which GPTQModel ignores silently; it knows bits and group_size"
        raise ExportError(msg, rule="unknown-override")
    try:
        pattern = re.compile(key.removeprefix("-:").removeprefix("+:"))
    except re.error as error:
        msg = f"the pattern of the rule {key!r} is no regular expression: {error}"
        raise ExportError(msg, rule="pattern") from error
    words = (overrides.get("bits", config.get("bits")), overrides.get("group_size", config.get("group_size")))
    return _Rule(key, pattern, None if key.startswith("-:") else words)


def _require_layout(config: Mapping[str, object], rules: Sequence[_Rule]) -> None:
    widths = {config.get("bits"), *(rule.words[0] for rule in rules if rule.words is not None)}
    layout = "gptq_p" if widths & PLANAR_ONLY else "gptq"
    if config.get("checkpoint_format") != layout:
        msg = f"a file with layers of {', '.join(sorted(map(str, widths)))} bits is read as {layout}, not as "
        raise ExportError(msg + repr(config.get("checkpoint_format")), rule="planar-layout")


def _require_used(rules: Sequence[_Rule], names: Sequence[str]) -> None:
    for rule in rules:
        if not any(rule.matches(name) for name in names):
            msg = f"the rule {rule.text!r} matches no layer of the model; engines ignore it silently"
            raise ExportError(msg, rule="unmatched-target")


def _only_rule(name: str, rules: Sequence[_Rule]) -> _Rule:
    found = [rule for rule in rules if rule.matches(name)]
    if len(found) != 1:
        said = " and ".join(repr(rule.text) for rule in found) or "no rule"
        msg = f"{name} is matched by {said}; each layer needs exactly one rule"
        raise ExportError(msg, layers=[name], rule="one-rule-per-layer")
    return found[0]


def _require_heads_loaded(config: Mapping[str, object], layers: Sequence[Layer], chosen: Mapping[str, _Rule]) -> None:
    for layer in layers:
        if layer.block is None and chosen[layer.name].words is not None and config.get("lm_head") is not True:
            msg = f"{layer.name} has the rule {chosen[layer.name].text!r}, which engines read only if lm_head is true"
            raise ExportError(msg, layers=[layer.name], rule="lm-head")


def _require_fused(layers: Sequence[Layer], chosen: Mapping[str, _Rule], rules: Sequence[_Rule]) -> None:
    """Rule R2: vLLM asks for the fused module's name."""
    for fused, members in fused_modules(layers).items():
        wanted = {chosen[name].words for name in members}
        read = {rule.words for rule in rules if rule.matches(fused)}
        if read != (wanted if len(wanted) == 1 else set()):
            shown = ", ".join(members[:4]) + (", …" if len(members) > 4 else "")
            msg = f"vLLM looks rules up by {fused}, whose members are {shown}, and would not read what they have"
            raise ExportError(msg, layers=members, rule="R2")


@cache
def _format(bits: object, group_size: object) -> CandidateFormat:
    for fmt in all_formats():
        if fmt.type is ElementType.INT and fmt.symmetric and (fmt.num_bits, fmt.group_size or -1) == (bits, group_size):
            return fmt
    msg = f"no candidate format has {bits} bits and group_size {group_size}; `bitplan formats` and `GET /v1/formats` list them"
    raise ExportError(msg, rule="unknown-scheme")
