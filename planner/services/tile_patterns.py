"""What rules call the layers of a tile: a pattern that matches exactly them, in the shell's language of patterns."""

from bisect import bisect_left
from collections.abc import Sequence
from fnmatch import fnmatchcase
from glob import escape
from typing import Final

_NUMBERS: Final = ("*", "[0-9]*", "*[0-9]")
"""What stands for the number of an expert, the shortest first."""


def pattern_of_name(name: str) -> str:
    """The pattern of one layer: its name, where no character of it means something else."""
    return escape(name)


def pattern_of_experts(before: str, behind: str, members: int, names: Sequence[str]) -> str | None:
    """The pattern of layers that differ in one number alone; ``None`` where every such pattern matches others too.

    Args:
        before: what their names begin with, up to the number.
        behind: what they end with, from behind the number.
        members: how many they are.
        names: of all layers of the model, in alphabetical order.
    """
    begun = names[bisect_left(names, before) : bisect_left(names, before[:-1] + chr(ord(before[-1]) + 1))]
    least = len(before) + len(behind)
    near = [name for name in begun if name.endswith(behind) and len(name) >= least]
    for number in _NUMBERS:
        pattern = f"{escape(before)}{number}{escape(behind)}"
        if len(near) == members or sum(fnmatchcase(name, pattern) for name in near) == members:
            return pattern
    return None
