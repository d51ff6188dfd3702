"""Calibration text: where it is read from, how it is to be cut, and the fingerprint of both. No torch here."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final

from sensitivity.checkpoint.untrusted import parse_json
from sensitivity.errors import CalibrationError

BUILTIN: Final = "builtin"
"""Source of the text that comes with CPython: all of ``pydoc_data.topics``, English prose about the language."""

TEXT_LIMIT: Final = 64 * 2**20
"""Bytes (UTF-8) of a text, and of the file that it is read from."""

LINE_LIMIT: Final = 8 * 2**20
"""Characters of a line of a ``.jsonl`` file."""

_SUFFIXES: Final = (".txt", ".jsonl", ".parquet")
_KEY: Final = "text"
_THRIFT_LIMIT: Final = 2**20
"""Bytes of a string, and entries of a list, of a Parquet file's own description."""
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
            64 MiB, whose text has at most 64 MiB once it is unpacked. The records of the last two are joined by an empty line.

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
    lines = StringIO(_from_txt(content, name), newline="\n")
    return _join((_jsonl_text(line, f"{name}, line {number}") for number, line in enumerate(lines, 1) if line.strip()), name)


def _jsonl_text(line: str, place: str) -> str:
    if len(line) > LINE_LIMIT:
        msg = f"{place} has {len(line):,} characters, more than {LINE_LIMIT:,}; write one record a line, or one .txt file"
        raise CalibrationError(msg)
    try:
        record = parse_json(line.encode())
    except ValueError as error:
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

    limits = {"thrift_string_size_limit": _THRIFT_LIMIT, "thrift_container_size_limit": _THRIFT_LIMIT}
    try:
        described = parquet.ParquetFile(pa.BufferReader(content), **limits)
        _check_column(described.schema_arrow, pa, name)
        _check_size(_unpacked_size(described.metadata), name)
        file = parquet.ParquetFile(pa.BufferReader(content), read_dictionary=[_KEY], **limits)
        return _join(_column_texts(file), name)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        msg = f"{name} is no readable Parquet file ({str(error)[:300]}); write it again"
        raise CalibrationError(msg) from error


def _check_column(schema: Any, pa: Any, name: str) -> None:
    if _KEY not in schema.names:
        msg = f"{name} has no column {_KEY!r}, only {_names(schema.names)}; rename the column that holds the text"
        raise CalibrationError(msg)
    kind = getattr(schema.field(_KEY).type, "value_type", schema.field(_KEY).type)
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)) or pa.types.is_nested(schema.field(_KEY).type):
        msg = f"the column {_KEY!r} of {name} holds {schema.field(_KEY).type}, not strings; write the text itself"
        raise CalibrationError(msg)


def _column_texts(file: Any) -> Iterator[str]:
    """Rows that are not null. A word that a million rows repeat is in memory once."""
    for batch in file.iter_batches(batch_size=64, columns=[_KEY]):
        column = batch.column(0)
        words = column.dictionary.to_pylist()
        yield from (words[index] for index in column.indices.to_pylist() if index is not None)


def _unpacked_size(metadata: Any) -> int:
    """Bytes of the column once its pages are decompressed, as the file says."""
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    chunks = (group.column(number) for group in groups for number in range(group.num_columns))
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == _KEY)


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
