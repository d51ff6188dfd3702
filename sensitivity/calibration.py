"""Calibration text: where it is read from, how it is to be cut, and the fingerprint of both. No torch here."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from sensitivity.errors import CalibrationError

BUILTIN: Final = "builtin"
"""Source of the text that comes with CPython: all of ``pydoc_data.topics``, English prose about the language."""

TEXT_LIMIT: Final = 64 * 2**20
"""Bytes (UTF-8) of a text, and of the file that it is read from."""

_SUFFIXES: Final = (".txt", ".jsonl", ".parquet")
_KEY: Final = "text"
_SEPARATOR: Final = "\n\n"


@dataclass(frozen=True, slots=True)
class CalibrationSpec:
    """How a text is cut into a calibration set and a held-out set.

    Attributes:
        sequences: sequences that probes run on.
        sequence_length: tokens of each of them.
        held_out_sequences: sequences kept for evaluation, never probed.
        held_out_length: tokens of each of them.
        seed: seed of the sampling, 0 ≤ seed < 2**63.

    Raises:
        CalibrationError: a count below 1, a length below 2 (a language model needs a token to predict from), a seed out of range.
    """

    sequences: int = 48
    sequence_length: int = 256
    held_out_sequences: int = 24
    held_out_length: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("sequences", 1),
            ("held_out_sequences", 1),
            ("sequence_length", 2),
            ("held_out_length", 2),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if type(value) is not int or not least <= value < 2**63:
                msg = f"{name} is {value!r}; give a whole number from {least} to 2**63 - 1"
                raise CalibrationError(msg)

    @property
    def tokens(self) -> int:
        """Tokens that a text must have at least: those of both sets."""
        return self.sequences * self.sequence_length + self.held_out_sequences * self.held_out_length


def fingerprint(text: str, spec: CalibrationSpec) -> str:
    """SHA-256 over the UTF-8 text and every number of the specification: the identity of a calibration set.

    Raises:
        CalibrationError: the text cannot be written as UTF-8 (a lone surrogate).
    """
    digest = hashlib.sha256(b"bitplan calibration 1\n")
    digest.update(json.dumps(asdict(spec), sort_keys=True).encode())
    digest.update(b"\n" + _encode(text, "the text"))
    return digest.hexdigest()


def read_text(source: str) -> tuple[str, str]:
    """Read a text and the label that says where it is from.

    Args:
        source: ``builtin``, or a ``.txt`` (UTF-8), ``.jsonl`` (key ``text``) or ``.parquet`` (column ``text``) file of at most
            64 MiB. The records of the last two are joined by an empty line.

    Returns:
        The text, and ``builtin`` or the name of the file.

    Raises:
        CalibrationError: no such file, another suffix, too large, empty, not UTF-8, or without the key or column.
    """
    if source == BUILTIN:
        return _builtin_text(), BUILTIN
    path = Path(source)
    if path.suffix.lower() not in _SUFFIXES:
        msg = f"{source} is neither {BUILTIN!r} nor a file that ends in {', '.join(_SUFFIXES)}; convert it to one of these"
        raise CalibrationError(msg)
    content = _read_bytes(path)
    text = {".txt": _from_txt, ".jsonl": _from_jsonl, ".parquet": _from_parquet}[path.suffix.lower()](content, path.name)
    if not text.strip():
        msg = f"{path.name} holds no text; give a file with some thousand words"
        raise CalibrationError(msg)
    return text, path.name


def _builtin_text() -> str:
    from pydoc_data.topics import topics  # half a megabyte of text that only this source needs

    return _SEPARATOR.join(topics[key] for key in sorted(topics))


def _read_bytes(path: Path) -> bytes:
    if not path.is_file():
        msg = f"there is no calibration file {path}; give its full path, or {BUILTIN!r} for the built-in English text"
        raise CalibrationError(msg)
    try:
        with path.open("rb") as file:
            content = file.read(TEXT_LIMIT + 1)
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}); check its permissions"
        raise CalibrationError(msg) from error
    _check_size(len(content), path.name)
    return content


def _check_size(size: int, name: str) -> None:
    if size <= TEXT_LIMIT:
        return
    ways = {
        ".txt": f"head -c 60000000 {name} | iconv -c -f utf-8 -t utf-8 > part.txt",
        ".jsonl": f"head -n 10000 {name} > part.jsonl",
        ".parquet": f"write fewer rows of its column {_KEY!r} to another file",
    }
    msg = (
        f"{name} holds more than {TEXT_LIMIT // 2**20} MiB of text, far more than a calibration set needs; "
        f"keep a part: {ways[Path(name).suffix.lower()]}"
    )
    raise CalibrationError(msg)


def _from_txt(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{name} is not UTF-8 (byte {error.start}); convert it: iconv -f <its encoding> -t utf-8 {name} > text.txt"
        raise CalibrationError(msg) from error


def _from_jsonl(content: bytes, name: str) -> str:
    lines = _from_txt(content, name).split("\n")
    return _join((_jsonl_text(line, f"{name}, line {number}") for number, line in enumerate(lines, 1) if line.strip()), name)


def _jsonl_text(line: str, place: str) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        msg = f"{place} is not JSON ({error}); write one object a line"
        raise CalibrationError(msg) from error
    if not isinstance(record, dict):
        msg = f"{place} is no JSON object; write one object a line, with the text under the key {_KEY!r}"
        raise CalibrationError(msg)
    if _KEY not in record:
        msg = f"{place} has no key {_KEY!r}, only {_names(record)}; rename the key that holds the text"
        raise CalibrationError(msg)
    if not isinstance(record[_KEY], str):
        msg = f"{place} has a {_KEY!r} that is no string; write the text itself"
        raise CalibrationError(msg)
    _encode(record[_KEY], place)
    return record[_KEY]


def _from_parquet(content: bytes, name: str) -> str:
    import pyarrow as pa  # a large library that only this kind of file needs
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pa.BufferReader(content))
        return _join(_column_texts(file, pa, name), name)
    except (pa.ArrowException, OSError) as error:
        msg = f"{name} is no readable Parquet file ({error}); write it again"
        raise CalibrationError(msg) from error


def _column_texts(file: Any, pa: Any, name: str) -> Iterator[str]:
    schema = file.schema_arrow
    if _KEY not in schema.names:
        msg = f"{name} has no column {_KEY!r}, only {_names(schema.names)}; rename the column that holds the text"
        raise CalibrationError(msg)
    kind = schema.field(_KEY).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        msg = f"the column {_KEY!r} of {name} holds {kind}, not strings; write the text itself"
        raise CalibrationError(msg)
    for batch in file.iter_batches(batch_size=64, columns=[_KEY]):
        yield from (value for value in batch.column(0).to_pylist() if value is not None)


def _join(texts: Iterable[str], name: str) -> str:
    """Join records, and stop at the limit: a small Parquet file can hold a very large text."""
    kept: list[str] = []
    size = 0
    for text in texts:
        size += len(text) + len(_SEPARATOR)
        _check_size(size, name)
        kept.append(text)
    return _SEPARATOR.join(kept)


def _names(names: Iterable[str]) -> str:
    """At most ten names for a message."""
    found = [repr(name) for name in names]
    return ", ".join(found[:10]) + (f" and {len(found) - 10} more" if len(found) > 10 else "") or "nothing"


def _encode(text: str, place: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        msg = f"{place} holds a lone surrogate (character {error.start}), which is no text; remove it"
        raise CalibrationError(msg) from error
