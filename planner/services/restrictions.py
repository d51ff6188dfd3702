"""What closes a format to a layer group: the runtime, the rules of the request, cells that could not be measured."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from planner.build import Classes
from planner.rules import Rules
from planner.runtimes import RuntimeProfile
from planner.services.asking import Asked
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.abstract import AbstractFormat
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.statistics import CellStatus


def rule_refusals(rules: Rules, layer: str, fmt: AbstractFormat, names: frozenset[str]) -> Iterator[str]:
    """The rules of a request that close a format to a layer.

    Args:
        rules: with canonical names.
        layer: its name.
        fmt: the format.
        names: of all planned layers: a pattern that is the name of one matches that one alone.
    """
    bits = fmt.num_bits or 0
    closed = (
        *((f"pin {pattern}={name}", pattern, fmt.name != name) for pattern, name in rules.pins.items()),
        *((f"menu {pattern}={','.join(menu)}", pattern, fmt.name not in menu) for pattern, menu in rules.menus.items()),
        *((f"floor {pattern}={floor}", pattern, bits < floor) for pattern, floor in rules.floors.items()),
        *((f"ceiling {pattern}={most}", pattern, bits > most) for pattern, most in rules.ceilings.items()),
    )
    for text, pattern, closes in closed:
        if closes and (pattern == layer or (pattern not in names and fnmatchcase(layer, pattern))):
            yield text


class WeightRestrictions:
    """What closes formats to groups of weights."""

    def __init__(
        self, classes: Classes, rules: Rules, runtime: RuntimeProfile, status: NDArray[np.str_], *, offered: NDArray[np.bool_]
    ) -> None:
        """The restrictions of one question.

        Args:
            classes: layer groups.
            rules: of the request.
            runtime: of the plan.
            status: status of each cell (layers, formats).
            offered: bool (groups, formats): legal, and with a loss.
        """
        self._classes = classes
        self._rules = rules
        self._runtime = runtime
        self._status = status
        self._offered = offered
        self._names = frozenset(layer.name for layer in classes.layers)

    def refusals(self, group: int, column: int) -> list[str]:
        """Why no member may take a format, or some may not and the others are tied to it; nothing where it is offered."""
        if self._offered[group, column]:
            return []
        fmt, members = self._classes.formats[column], self._classes.groups[group]
        found = [
            (index, reason) for index in members for reason in self._of_layer(self._classes.layers[index], index, fmt, column)
        ]
        return merged_reasons([(self._classes.layers[index].name, reason) for index, reason in found], len(members))

    def _of_layer(self, layer: Layer, index: int, fmt: CandidateFormat, column: int) -> Iterator[str]:
        refusal = self._runtime.refusal(fmt, layer)
        if refusal is not None:
            yield f"{self._runtime.name}: {refusal}"
        yield from rule_refusals(self._rules, layer.name, fmt, self._names)
        status = str(self._status[index, column])
        if refusal is None and status not in ("", CellStatus.MEASURED, CellStatus.NO_TOKENS):
            yield f"its cell is {status}"


def merged_reasons(found: Sequence[tuple[str, str]], members: int) -> list[str]:
    """Reasons each once, with the layers that they are of unless they are of all members."""
    layers: dict[str, list[str]] = {}
    for layer, reason in found:
        layers.setdefault(reason, []).append(layer)
    return [
        reason if len(of) == members else f"{of[0]}{f' and {len(of) - 1} more' if len(of) > 1 else ''}: {reason}"
        for reason, of in layers.items()
    ]


def cache_refusals(asked: Asked, group: int, column: int, runtime: RuntimeProfile) -> list[str]:
    """Why a group of caches may not take a column of the whole problem."""
    whole, selected = asked.whole, asked.prepared.selected
    fmt, members = whole.classes.formats[column], whole.classes.groups[group]
    layers = [whole.classes.layers[i] for i in members]
    names = frozenset(layer.name for layer in whole.classes.layers)
    found = []
    for layer in layers:
        refusal = runtime.kv.refusal(fmt.name, runtime.name)
        reasons = [*([] if refusal is None else [refusal]), *rule_refusals(selected.cache_rules, layer.name, fmt, names)]
        found += [(layer.name, reason) for reason in reasons or ["it is not asked for, or was not measured there"]]
    return merged_reasons(found, len(members))
