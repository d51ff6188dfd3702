"""Files that nobody vouches for: JSON within bounds, and words for what is wrong with a file. No torch here."""

import json
import math
import reprlib
from collections import Counter
from pathlib import Path
from typing import Any, Final, NoReturn

from sensitivity.errors import CorruptCheckpointError

CONFIGURATION_LIMIT: Final = 16 * 2**20
"""Bytes of a ``config.json``; real ones have some kilobytes."""
INDEX_LIMIT: Final = 64 * 2**20
"""Bytes of an index of shards: that of 671 billion weights in 91,991 tensors has nine megabytes."""
VALUES_LIMIT: Final = 2**21
"""Values of a document. Each takes some hundred bytes of memory once it is parsed, so a small file could become a large one."""

_ADVICE: Final = "download or copy it again"


class _Short(reprlib.Repr):
    """``repr`` of some hundred characters at most."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 200
        self.maxlong, self.maxlevel = 50, 2


_SHORT: Final = _Short()


def parse_json(raw: bytes, *, finite: bool = False) -> Any:
    """Parse UTF-8 JSON of at most ``VALUES_LIMIT`` values, without a key twice.

    Values are bounded by the commas and brackets of the text before anything is parsed.

    Args:
        raw: the text.
        finite: refuse NaN, Infinity and numbers beyond float64.

    Raises:
        ValueError: it is no such document; the message says why.
    """
    if sum(raw.count(mark) for mark in (b",", b"[", b"{")) > VALUES_LIMIT:
        msg = f"it has more than {VALUES_LIMIT:,} values"
        raise ValueError(msg)
    strict: dict[str, Any] = {"parse_constant": _no_constant, "parse_float": _finite} if finite else {}
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=_distinct, **strict)
    except RecursionError as error:
        msg = "it is nested too deeply"
        raise ValueError(msg) from error


def load_json(raw: bytes, path: Path) -> dict[str, object]:
    """A JSON object without repeated keys.

    Raises:
        CorruptCheckpointError: anything else.
    """
    try:
        value = parse_json(raw)
    except ValueError as error:
        raise corrupt(path, f"its JSON cannot be read ({str(error)[:300]})") from error
    if not isinstance(value, dict):
        raise corrupt(path, "its JSON is no object")
    return value


def read_json(path: Path, *, limit: int = CONFIGURATION_LIMIT) -> dict[str, object]:
    """A file that holds a JSON object without repeated keys.

    Raises:
        CorruptCheckpointError: anything else, or more than ``limit`` bytes.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        raise corrupt(path, f"it has more than {limit:,} bytes")
    return load_json(raw, path)


def corrupt(path: Path, what: str) -> CorruptCheckpointError:
    """The error of a file that is not what it should be."""
    return CorruptCheckpointError(f"{path} is corrupt: {what}; {_ADVICE}")


def shown(value: object) -> str:
    """A value of a file for a message: escaped, and cut to some hundred characters."""
    return _SHORT.repr(value)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        msg = f"key {shown(twice)} appears twice"
        raise ValueError(msg)
    return value


def _no_constant(name: str) -> NoReturn:
    msg = f"{name} is no number"
    raise ValueError(msg)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        msg = f"{text[:40]} is too large"
        raise ValueError(msg)
    return number
