"""GGUF: metadata and tensor table of a file, without reading a weight and without keeping its vocabulary.

The layout is ggml's (docs/gguf.md), versions 2 and 3, little-endian: magic, version, counts, key-value pairs, tensor
infos, padding to the alignment, data. Arrays (the vocabulary, its merges) are walked over and only their length is kept:
the ``gguf`` package's reader makes several objects per token, which is too slow and too large for the request path.
"""

import hashlib
import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from sensitivity.checkpoint.tensors import StoredTensor, WeightFile
from sensitivity.errors import CorruptCheckpointError

MAGIC: Final = b"GGUF"
DIMENSION_LIMIT: Final = 4
_SCALARS: Final[Mapping[int, str]] = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_STRING: Final = 8
_ARRAY: Final = 9

Value = int | float | bool | str


@dataclass(frozen=True, slots=True)
class ArrayField:
    """An array of the metadata, of which only the length is kept."""

    length: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """Metadata and tensors of a GGUF file.

    Attributes:
        metadata: key-value pairs as stored (``llama.block_count``); arrays by their length only.
        weights: the file with its tensors; shapes with the outermost dimension first.
    """

    metadata: Mapping[str, Value | ArrayField]
    weights: WeightFile


def is_gguf(path: Path) -> bool:
    """Whether the file begins with GGUF's magic."""
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def read_gguf(path: Path) -> GgufHeader:
    """Header of a GGUF file.

    Raises:
        CorruptCheckpointError: the header cannot be read, or a tensor lies outside the file.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return parse_gguf(data, path)


def parse_gguf(data: bytes | mmap.mmap, path: Path) -> GgufHeader:
    """Header of a file that is in memory, or mapped there.

    Args:
        data: the whole file.
        path: what it is called.

    Raises:
        CorruptCheckpointError: as ``read_gguf``.
    """
    cursor = _Cursor(data, path, at=4)
    tensors_count, fields_count = _counts(cursor)
    metadata = dict(_field(cursor) for _ in range(fields_count))
    infos = [_info(cursor) for _ in range(tensors_count)]
    start = -(-cursor.at // _alignment(metadata, cursor)) * _alignment(metadata, cursor)
    digest = hashlib.sha256(data[: cursor.at]).hexdigest()
    size = len(data)
    tensors = tuple(_stored(info, path, start, size) for info in infos)
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise _corrupt(path, "a tensor name appears twice")
    return GgufHeader(metadata, WeightFile(path, size, digest, tensors))


class _Cursor:
    """A position in the file; reading past its end is a corrupt checkpoint, not a struct error."""

    def __init__(self, data: bytes | mmap.mmap, path: Path, *, at: int) -> None:
        self.data, self.path, self.at = data, path, at

    def advance(self, count: int) -> int:
        """Step over ``count`` bytes; the position before."""
        before = self.at
        if count > len(self.data) - before:
            raise _corrupt(self.path, f"its header ends past the file's {len(self.data)} bytes: it is truncated")
        self.at += count
        return before

    def number(self, code: str) -> int:
        """One integer of a struct code."""
        return int(self.scalar(code))

    def scalar(self, code: str) -> int | float | bool:
        """One scalar of a struct code."""
        before = self.advance(struct.calcsize("<" + code))
        value: int | float | bool = struct.unpack_from("<" + code, self.data, before)[0]
        return value

    def text(self) -> str:
        """One string: 64-bit length and UTF-8."""
        length = self.number("Q")
        before = self.advance(length)
        return self.data[before : before + length].decode("utf-8", errors="replace")


def _counts(cursor: _Cursor) -> tuple[int, int]:
    version = cursor.number("I")
    if version not in (2, 3):
        msg = f"{cursor.path} has GGUF version {version}: convert it again with a present llama.cpp (little-endian, version 3)"
        raise CorruptCheckpointError(msg)
    return cursor.number("Q"), cursor.number("Q")


def _field(cursor: _Cursor) -> tuple[str, Value | ArrayField]:
    key = cursor.text()
    kind = cursor.number("I")
    if kind == _STRING:
        return key, cursor.text()
    if kind == _ARRAY:
        return key, _array(cursor, key)
    return key, cursor.scalar(_code(cursor, key, kind))


def _array(cursor: _Cursor, key: str) -> ArrayField:
    kind, length = cursor.number("I"), cursor.number("Q")
    if kind == _STRING:
        for _ in range(length):
            cursor.advance(cursor.number("Q"))
    else:
        cursor.advance(length * struct.calcsize("<" + _code(cursor, key, kind)))
    return ArrayField(length)


def _code(cursor: _Cursor, key: str, kind: int) -> str:
    if kind not in _SCALARS:
        raise _corrupt(cursor.path, f"field {key!r} has the unknown type {kind}")
    return _SCALARS[kind]


def _alignment(metadata: Mapping[str, Value | ArrayField], cursor: _Cursor) -> int:
    value = metadata.get("general.alignment", 32)
    if not isinstance(value, int) or value < 1 or value & (value - 1):
        raise _corrupt(cursor.path, f"general.alignment is {value!r}, not a power of two")
    return value


@dataclass(frozen=True, slots=True)
class _Info:
    name: str
    dimensions: tuple[int, ...]
    kind: int
    offset: int


def _info(cursor: _Cursor) -> _Info:
    name, count = cursor.text(), cursor.number("I")
    if count > DIMENSION_LIMIT:
        raise _corrupt(cursor.path, f"tensor {name!r} has {count} dimensions; at most {DIMENSION_LIMIT} exist")
    dimensions = tuple(cursor.number("Q") for _ in range(count))
    return _Info(name, dimensions, cursor.number("I"), cursor.number("Q"))


def _stored(info: _Info, path: Path, start: int, size: int) -> StoredTensor:
    try:
        kind = GGMLQuantizationType(info.kind)
    except ValueError as error:
        raise _corrupt(path, f"tensor {info.name!r} has the unknown type {info.kind}; is the gguf package old?") from error
    block, block_bytes = GGML_QUANT_SIZES[kind]
    elements = math.prod(info.dimensions)
    if info.dimensions and info.dimensions[0] % block:
        raise _corrupt(path, f"tensor {info.name!r} has rows of {info.dimensions[0]}, no multiple of {kind.name}'s {block}")
    nbytes = elements // block * block_bytes
    if start + info.offset + nbytes > size:
        raise _corrupt(path, f"tensor {info.name!r} ends past the file's {size} bytes: it is truncated")
    return StoredTensor(info.name, kind.name, info.dimensions[::-1], path, start + info.offset, nbytes)


def _corrupt(path: Path, what: str) -> CorruptCheckpointError:
    return CorruptCheckpointError(f"{path} is corrupt: {what}; download or copy it again")
