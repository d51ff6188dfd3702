"""Regular expressions for sets of layers: anchored, dots escaped, each layer in one, and as few as the names allow.

The members of a fused projection that share a rule get the fused name as well, ``(q|k|v|qkv)_proj``: vLLM looks rules up by
the name of its fused module, GPTQModel by the module of the checkpoint.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sensitivity.checkpoint.description import Layer

FUSED: Final[Mapping[str, tuple[str, ...]]] = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
}
"""Name of a fused module → the modules of a checkpoint that become it."""

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


def patterns(chosen: Sequence[Layer], layers: Sequence[Layer]) -> list[str]:
    """Patterns that match the chosen layers and no others of the model, each ``^…$``.

    Args:
        chosen: layers that share a rule.
        layers: all layers of the model: they tell which fused modules and which experts are chosen as a whole.
    """
    everywhere = _kinds(layers)
    all_experts = _experts(dict.fromkeys(everywhere, ""))
    blocks: dict[tuple[tuple[str, ...], str, str], list[int]] = {}
    for (path, block, names), numbers in _experts(
        {parent: _alternatives(kinds, everywhere[parent]) for parent, kinds in _kinds(chosen).items()}
    ).items():
        expert = r"\d+" if len(numbers) > 1 and numbers == all_experts[path, block, ""] else _either(map(str, numbers))
        blocks.setdefault((path, expert, names), []).extend([] if block is None else [block])
    return [_pattern(path, _either(map(str, numbers)), expert, names) for (path, expert, names), numbers in blocks.items()]


def fused_modules(layers: Iterable[Layer]) -> dict[str, list[str]]:
    """Name of each module that engines make of several layers → its members; some kinds may be missing."""
    found: dict[str, list[str]] = {}
    for layer in layers:
        parent, _, kind = layer.name.rpartition(".")
        for fused, members in FUSED.items():
            if kind in members:
                found.setdefault(f"{parent}.{fused}", []).append(layer.name)
    return {fused: members for fused, members in found.items() if len(members) > 1}


def _kinds(layers: Iterable[Layer]) -> dict[_Parent, list[str]]:
    found: dict[_Parent, list[str]] = {}
    for layer in layers:
        found.setdefault(_Parent.of(layer), []).append(layer.name.rpartition(".")[2])
    return found


def _experts(names: Mapping[_Parent, str]) -> dict[tuple[tuple[str, ...], int | None, str], list[int]]:
    """(path, block, names) → the experts' numbers, none where the layers are no experts'."""
    found: dict[tuple[tuple[str, ...], int | None, str], list[int]] = {}
    for parent, name in names.items():
        found.setdefault((parent.path, parent.block, name), []).extend([] if parent.expert is None else [parent.expert])
    return found


def _alternatives(kinds: Sequence[str], siblings: Sequence[str]) -> str:
    """The chosen kinds of a module as one expression, with the names of the fused modules that they are the whole of."""
    present = set(siblings)
    fused = [name for name, members in FUSED.items() if _is_whole(present.intersection(members), kinds)]
    every = [*kinds, *fused]
    if len(every) > 1 and all(kind.endswith(_ENDING) for kind in every):
        return _either(kind.removesuffix(_ENDING) for kind in every) + _ENDING
    return _either(map(re.escape, every))


def _is_whole(members: set[str], kinds: Sequence[str]) -> bool:
    return len(members) > 1 and members.issubset(kinds)


def _either(choices: Iterable[str]) -> str:
    found = list(choices)
    return found[0] if len(found) == 1 else f"({'|'.join(found)})"


def _pattern(path: Sequence[str], block: str, expert: str, names: str) -> str:
    marks = {_BLOCK: block, _EXPERT: expert}
    return "^" + r"\.".join([*(marks.get(part) or re.escape(part) for part in path), names]) + "$"
