"""Reads a ``quantization_config`` back into formats, by the rules that compressed-tensors and vLLM agree on.

Written independently of the exporter: it knows names, ``re:`` patterns, ``ignore`` and the fields of a scheme, not how
the exporter chooses them. A layer must be matched by exactly one group, so that precedence never matters.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from planner.errors import ExportError
from planner.exports.target import ExportedModel
from sensitivity.formats.candidate import CandidateFormat, Strategy
from sensitivity.formats.registry import all_formats, get_format

REGEX = "re:"


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
    ignore = _texts(config.get("ignore"))
    names = [layer.name for layer in model.layers]
    _require_used(groups, names)
    return {name: _resolve(name, groups, ignore, model) for name in names}


def _resolve(
    name: str, groups: Sequence[tuple[list[str], CandidateFormat]], ignore: Iterable[str], model: ExportedModel
) -> CandidateFormat:
    ignored = _matches(name, ignore)
    found = [fmt for targets, fmt in groups if _matches(name, targets)]
    if ignored and not found:
        return get_format(model.unquantized_format)
    if len(found) != 1 or ignored:
        rules = ", ".join(fmt.name for fmt in found) or "no group"
        msg = f"{name} is matched by {rules}{' and ignored' if ignored else ''}; each layer needs exactly one rule"
        raise ExportError(msg, layers=[name], rule="one-rule-per-layer")
    return found[0]


def _matches(name: str, targets: Iterable[str]) -> bool:
    return any(
        re.match(target.removeprefix(REGEX), name) is not None if target.startswith(REGEX) else target == name
        for target in targets
    )


def _require_used(groups: Sequence[tuple[list[str], CandidateFormat]], names: Sequence[str]) -> None:
    known = set(names)
    for targets, fmt in groups:
        for target in targets:
            if target not in known and not (target.startswith(REGEX) and any(_matches(name, [target]) for name in names)):
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
    msg = f"no candidate format has the scheme {dict(weights)}; `GET /v1/formats` lists them"
    raise ExportError(msg, rule="unknown-scheme")


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
