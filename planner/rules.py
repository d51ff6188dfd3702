"""Pins, floors, ceilings and menus: what the user allows each layer, as a boolean table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

import numpy as np
from numpy.typing import NDArray

from planner.errors import InvalidRequestError, PinConflictError
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.abstract import AbstractFormat


@dataclass(frozen=True, slots=True)
class Rules:
    """Patterns are shell-style and match full layer names (``*.down_proj``, ``model.layers.0.*``).

    Attributes:
        pins: pattern → the one format to use.
        floors: pattern → least ``num_bits``.
        ceilings: pattern → greatest ``num_bits``.
        menus: pattern → formats to choose from; where several match, what all of them allow.
    """

    pins: Mapping[str, str] = field(default_factory=dict)
    floors: Mapping[str, int] = field(default_factory=dict)
    ceilings: Mapping[str, int] = field(default_factory=dict)
    menus: Mapping[str, Sequence[str]] = field(default_factory=dict)


NO_RULES: Final = Rules()
"""Everything is allowed."""


def matching(pattern: str, layers: Sequence[Layer], *, of: str) -> list[int]:
    """Indices of the layers whose name matches.

    Raises:
        InvalidRequestError: the pattern matches nothing: a typo would otherwise be obeyed silently.
    """
    found = [index for index, layer in enumerate(layers) if fnmatchcase(layer.name, pattern)]
    if not found:
        example = layers[0].name if layers else "none: the model has no layers"
        msg = f"{of} pattern {pattern!r} matches no planned layer; a layer name looks like {example!r}"
        raise InvalidRequestError(msg, pattern=pattern)
    return found


def allowed(rules: Rules, layers: Sequence[Layer], formats: Sequence[AbstractFormat]) -> NDArray[np.bool_]:
    """What the rules allow, shape (layers, formats).

    Raises:
        InvalidRequestError: a pattern that matches nothing, or a format that is no candidate.
        PinConflictError: a layer that is left without any format; the message names the rules that met there.
    """
    table = np.ones((len(layers), len(formats)), dtype=bool)
    reasons: dict[int, list[str]] = {}
    constraints = _constraints(rules, formats)
    by_name = {layer.name: [index] for index, layer in enumerate(layers)} if constraints else {}
    for text, pattern, keep in constraints:
        for index in by_name.get(pattern) or matching(pattern, layers, of=text.partition(" ")[0]):
            table[index] &= keep
            reasons.setdefault(index, []).append(text)
    stuck = np.flatnonzero(~table.any(axis=1)) if formats else np.arange(len(layers))
    if stuck.size:
        first = layers[int(stuck[0])].name
        why = "; ".join(reasons.get(int(stuck[0]), ["no candidate formats"]))
        msg = f"{stuck.size} layers are left without a format, first {first!r}: {why}. Drop or widen one of these rules"
        raise PinConflictError(msg, layers=[layers[int(i)].name for i in stuck[:20]])
    return table


def _constraints(rules: Rules, formats: Sequence[AbstractFormat]) -> list[tuple[str, str, NDArray[np.bool_]]]:
    names = [fmt.name for fmt in formats]
    bits = np.array([fmt.num_bits for fmt in formats], dtype=np.int64)
    found: list[tuple[str, str, NDArray[np.bool_]]] = []
    for pattern, name in rules.pins.items():
        found.append((f"pin {pattern}={name}", pattern, _columns([name], names)))
    for pattern, menu in rules.menus.items():
        found.append((f"menu {pattern}={','.join(menu)}", pattern, _columns(menu, names)))
    for pattern, floor in rules.floors.items():
        found.append((f"floor {pattern}={floor}", pattern, bits >= floor))
    for pattern, ceiling in rules.ceilings.items():
        found.append((f"ceiling {pattern}={ceiling}", pattern, bits <= ceiling))
    return found


def _columns(wanted: Sequence[str], names: Sequence[str]) -> NDArray[np.bool_]:
    unknown = [name for name in wanted if name not in names]
    if unknown:
        msg = f"{', '.join(unknown)} is not among the candidate formats of this request ({', '.join(names)}); add it to formats"
        raise InvalidRequestError(msg, formats=list(names))
    return np.array([name in wanted for name in names], dtype=bool)
