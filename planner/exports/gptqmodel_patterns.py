r"""Regular expressions for sets of layers: anchored, dots escaped, each layer in one, and as few as the names allow.

vLLM looks rules up by the names of the modules that it makes of several layers, GPTQModel by those of the checkpoint. So where
all members of one share a rule its own name is matched as well: ``(q|k|v|qkv)_proj``, and ``experts(\.\d+\.…)?`` for a block's
experts.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from planner.runtimes.fused import FUSED
from sensitivity.checkpoint.description import Layer

Kinds = tuple[str, ...]
Experts = dict[tuple[tuple[str, ...], int | None, Kinds], list[int]]
"""(path, block, kinds) → the experts' numbers, none where the layers are no experts'."""

_BLOCK, _EXPERT = "{block}", "{expert}"
_ENDING = "_proj"


@dataclass(frozen=True, slots=True)
class _Parent:
    """The module that holds some layers: its path with marks for the numbers of the block and of the expert."""

    path: tuple[str, ...]
    block: int | None
    expert: int | None

    @classmethod
    def of(cls, layer: Layer) -> "_Parent":
        path = layer.name.split(".")[:-1]
        if layer.expert is not None:
            path[len(path) - 1 - path[::-1].index(str(layer.expert))] = _EXPERT
        if layer.block is not None:
            path[path.index(str(layer.block))] = _BLOCK
        return cls(tuple(path), layer.block, layer.expert)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What patterns of several blocks have in common: everything but the blocks' numbers."""

    path: tuple[str, ...]
    experts: tuple[int, ...]
    names: str
    all_experts: bool

    def pattern(self, blocks: Iterable[int]) -> str:
        marks = {_BLOCK: _either(map(str, blocks)), _EXPERT: _either(map(str, self.experts))}
        parts = [marks.get(part) or re.escape(part) for part in self.path]
        if self.all_experts:
            return "^" + r"\.".join(parts[: self.path.index(_EXPERT)]) + rf"(\.\d+\.{self.names})?$"
        return "^" + r"\.".join([*parts, self.names]) + "$"


def patterns(chosen: Iterable[Sequence[Layer]], layers: Sequence[Layer]) -> list[list[str]]:
    """For each set of layers that share a rule, patterns that match them and no others of the model, each ``^…$``.

    Args:
        chosen: the sets.
        layers: all layers of the model: they tell which modules are chosen as a whole.
    """
    everywhere = _kinds(layers)
    whole = _experts(everywhere)
    return [_patterns(one, everywhere, whole) for one in chosen]


def _patterns(chosen: Sequence[Layer], everywhere: Mapping[_Parent, Kinds], whole: Experts) -> list[str]:
    blocks: dict[_Shape, list[int]] = {}
    for (path, block, kinds), experts in _experts(_kinds(chosen)).items():
        all_experts = bool(experts) and whole.get((path, block, kinds)) == experts
        present = everywhere[_Parent(path, block, experts[0] if experts else None)]
        shape = _Shape(path, tuple(experts), _alternatives(kinds, () if experts else present), all_experts)
        blocks.setdefault(shape, []).extend([] if block is None else [block])
    return [shape.pattern(numbers) for shape, numbers in blocks.items()]


def fused_modules(layers: Iterable[Layer]) -> dict[str, list[str]]:
    """Name of each module that engines make of several layers → its members; some kinds may be missing."""
    found: dict[str, list[str]] = {}
    for layer in layers:
        parent, _, kind = layer.name.rpartition(".")
        if layer.expert is not None:
            found.setdefault(parent.rpartition(".")[0], []).append(layer.name)
            continue
        for fused, members in FUSED.items():
            if kind in members:
                found.setdefault(f"{parent}.{fused}", []).append(layer.name)
    return {fused: members for fused, members in found.items() if len(members) > 1}


def _kinds(layers: Iterable[Layer]) -> dict[_Parent, Kinds]:
    found: dict[_Parent, Kinds] = {}
    for layer in layers:
        parent = _Parent.of(layer)
        found[parent] = (*found.get(parent, ()), layer.name.rpartition(".")[2])
    return found


def _experts(kinds: Mapping[_Parent, Kinds]) -> Experts:
    found: Experts = {}
    for parent, its_kinds in kinds.items():
        found.setdefault((parent.path, parent.block, its_kinds), []).extend([] if parent.expert is None else [parent.expert])
    return found


def _alternatives(kinds: Sequence[str], siblings: Iterable[str]) -> str:
    """The chosen kinds of a module as one expression, with the names of the fused modules that they are the whole of."""
    present = set(siblings)
    fused = [name for name, members in FUSED.items() if _is_whole(present.intersection(members), kinds)]
    return alternatives([*kinds, *fused])


def alternatives(kinds: Sequence[str]) -> str:
    """One expression for the last parts of some names: ``(q|k|v)_proj`` where they end alike."""
    if len(kinds) > 1 and all(kind.endswith(_ENDING) for kind in kinds):
        return _either(kind.removesuffix(_ENDING) for kind in kinds) + _ENDING
    return _either(map(re.escape, kinds))


def _is_whole(members: set[str], kinds: Sequence[str]) -> bool:
    return len(members) > 1 and members.issubset(kinds)


def _either(choices: Iterable[str]) -> str:
    found = list(choices)
    return found[0] if len(found) == 1 else f"({'|'.join(found)})"
