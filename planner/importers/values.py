"""Checked reading of JSON values: the wrong type, sign or size is an error that names the file and the key."""

import math
from typing import Final

from planner.importers.source import Json, SourceFile

LARGEST: Final = 2.0**900
"""Losses beyond this cannot be added up."""


def mapping(value: Json, file: SourceFile, key: str) -> dict[str, Json]:
    """A JSON object."""
    if not isinstance(value, dict):
        file.refuse(f"an object is expected, not {_kind(value)}", key=key)
    return value


def items(value: Json, file: SourceFile, key: str) -> list[Json]:
    """A JSON array."""
    if not isinstance(value, list):
        file.refuse(f"a list is expected, not {_kind(value)}", key=key)
    return value


def number(value: Json, file: SourceFile, key: str, *, least: float = -LARGEST, most: float = LARGEST) -> float:
    """A finite number in a range."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        file.refuse(f"a number is expected, not {_kind(value)}", key=key)
    if not (least <= value <= most) or not math.isfinite(value):
        file.refuse(f"{str(value)[:40]} is not a number from {least:g} to {most:g}", key=key)
    return float(value)


def whole(value: Json, file: SourceFile, key: str, *, least: int = 0, most: int = 2**48) -> int:
    """A whole number in a range; ``4.0`` is one too."""
    found = number(value, file, key, least=least, most=most)
    if not found.is_integer():
        file.refuse(f"a whole number is expected, not {found:g}", key=key)
    return int(found)


def word(value: Json, *, otherwise: str = "", length: int = 200) -> str:
    """A text for the provenance, without control characters and cut to a length."""
    text = value if isinstance(value, str) else otherwise
    return "".join(char for char in text if char.isprintable())[:length]


def _kind(value: Json) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
