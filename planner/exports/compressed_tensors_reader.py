"""Reads a ``quantization_config`` back into formats, by the rules that compressed-tensors and vLLM agree on.

Written independently of the exporter: it knows names, ``re:`` patterns, ``ignore`` and the fields of a scheme, not how
the exporter chooses them. A layer must be matched by exactly one group, so that precedence never matters.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from planner.errors import ExportError
from planner.exports.target import ExportedModel
from sensitivity.formats.candidate import CandidateFormat, Strategy
from sensitivity.formats.registry import all_formats, get_format

REGEX = "re:"


@dataclass(frozen=True, slots=True)
class _Targets:
    """Layers by exact name and by pattern, ready to be asked of tens of thousands of names."""

    names: frozenset[str]
    patterns: tuple[re.Pattern[str], ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "_Targets":
        exact, patterns = set(), []
        for text in texts:
            if text.startswith(REGEX):
                patterns.append(re.compile(text.removeprefix(REGEX)))
            else:
                exact.add(text)
        return cls(frozenset(exact), tuple(patterns))

    def match(self, name: str) -> bool:
        return name in self.names or any(pattern.match(name) for pattern in self.patterns)


def read_assignment(config: Mapping[str, object], model: ExportedModel) -> dict[str, CandidateFormat]:
    """Format of every layer of the model, planned or not.

    Args:
        config: a ``quantization_config``; groups with class names as targets (``Linear``) are not understood.
        model: the model whose layers are resolved.

    Raises:
        ExportError: a layer matched by several groups or by none without being ignored, a target that matches nothing,
            or a scheme that is no candidate format.
    """
    groups = _groups(config)
    ignore = _Targets.of(_texts(config.get("ignore")))
    names = [layer.name for layer in model.layers]
    _require_used(groups, names)
    targets = [(_Targets.of(texts), fmt) for texts, fmt in groups]
    return {name: _resolve(name, targets, ignore, model) for name in names}


def _resolve(
    name: str, groups: Sequence[tuple[_Targets, CandidateFormat]], ignore: _Targets, model: ExportedModel
) -> CandidateFormat:
    ignored = ignore.match(name)
    found = [fmt for targets, fmt in groups if targets.match(name)]
    if ignored and not found:
        return get_format(model.unquantized_format)
    if len(found) != 1 or ignored:
        rules = ", ".join(fmt.name for fmt in found) or "no group"
        msg = f"{name} is matched by {rules}{' and ignored' if ignored else ''}; each layer needs exactly one rule"
        raise ExportError(msg, layers=[name], rule="one-rule-per-layer")
    return found[0]


def _require_used(groups: Sequence[tuple[list[str], CandidateFormat]], names: Sequence[str]) -> None:
    known = set(names)
    for targets, fmt in groups:
        for target in targets:
            if target not in known and not any(map(_Targets.of([target]).match, names)):
                msg = f"target {target!r} of the {fmt.name} group matches no layer of the model; engines ignore it silently"
                raise ExportError(msg, rule="unmatched-target")


def _groups(config: Mapping[str, object]) -> list[tuple[list[str], CandidateFormat]]:
    groups = config.get("config_groups")
    if not isinstance(groups, Mapping):
        msg = "quantization_config has no config_groups; export the plan again"
        raise ExportError(msg, rule="schema")
    return [(_texts(group["targets"]), _format(group["weights"])) for group in groups.values()]


def _format(weights: Mapping[str, object]) -> CandidateFormat:
    strategy = weights.get("strategy")
    for fmt in all_formats():
        same = (
            fmt.strategy is not Strategy.UNQUANTIZED
            and (fmt.num_bits, fmt.type.value, fmt.strategy.value) == (weights.get("num_bits"), weights.get("type"), strategy)
            and (fmt.group_size, fmt.symmetric) == (weights.get("group_size"), weights.get("symmetric"))
        )
        if same:
            return fmt
    msg = f"no candidate format has the scheme {dict(weights)}; `bitplan formats` and `GET /v1/formats` list them"
    raise ExportError(msg, rule="unknown-scheme")


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
