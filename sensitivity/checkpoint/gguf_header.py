"""GGUF: metadata and tensor table of a file, without reading a weight and without keeping its vocabulary.

The layout is ggml's (docs/gguf.md), versions 2 and 3, little-endian: magic, version, counts, key-value pairs, tensor
infos, padding to the alignment, data. Arrays (the vocabulary, its merges) are walked over and only their length is kept:
the ``gguf`` package's reader makes several objects per token, which is too slow and too large for the request path.
The header is read, not mapped: a file that shrinks under a mapping ends the process that looks at it.
"""

import hashlib
import itertools
import math
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from sensitivity.checkpoint.tensors import StoredTensor, WeightFile
from sensitivity.checkpoint.untrusted import corrupt, shown
from sensitivity.errors import CorruptCheckpointError

MAGIC: Final = b"GGUF"
HEADER_LIMIT: Final = 256 * 2**20
"""Bytes of a header; that of a vocabulary of 256,000 tokens has ten megabytes."""
STEP_LIMIT: Final = 2**22
"""Fields, strings of arrays and tensors of a file: each takes a step of the reader, and a file of holes could have any number."""
TOKENIZER: Final = "tokenizer."
"""What the names of a tokenizer's fields begin with."""
NAME_LIMIT: Final = 500
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
        tokenizer_bytes: bytes of the pairs that are the tokenizer's, without arrays of nothing.
        weights: the file with its tensors; shapes with the outermost dimension first.
    """

    metadata: Mapping[str, Value | ArrayField]
    weights: WeightFile
    tokenizer_bytes: int = 0


def is_gguf(path: Path) -> bool:
    """Whether the file begins with GGUF's magic."""
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def read_gguf(path: Path) -> GgufHeader:
    """Header of a GGUF file.

    Raises:
        CorruptCheckpointError: the header cannot be read or is beyond a limit, or a tensor lies outside the file or in another.
    """
    with path.open("rb") as file:
        return _parse(file, os.fstat(file.fileno()).st_size, path)


def parse_gguf(content: bytes, path: Path) -> GgufHeader:
    """Header of a file that is in memory.

    Args:
        content: the whole file.
        path: what it is called.

    Raises:
        CorruptCheckpointError: as ``read_gguf``.
    """
    return _parse(BytesIO(content), len(content), path)


def _parse(file: BinaryIO, size: int, path: Path) -> GgufHeader:
    cursor = _Cursor(file, size, path)
    cursor.advance(len(MAGIC))
    tensors_count, fields_count = _counts(cursor)
    metadata: dict[str, Value | ArrayField] = {}
    tokenizer_bytes = 0
    for _ in range(fields_count):
        before = cursor.at
        key, value = _field(cursor)
        if key.startswith(TOKENIZER) and value != ArrayField(0):
            tokenizer_bytes += cursor.at - before
        if key in metadata:
            raise corrupt(path, f"the field {shown(key)} appears twice")
        metadata[key] = value
    infos = [_info(cursor) for _ in range(tensors_count)]
    alignment = _alignment(metadata, path)
    start = -(-cursor.at // alignment) * alignment
    tensors = tuple(_stored(info, path, start, size) for info in infos)
    _refuse_shared(tensors, path)
    weights = WeightFile(path, size, hashlib.sha256(cursor.passed).hexdigest(), tensors)
    return GgufHeader(metadata, weights, tokenizer_bytes)


def _refuse_shared(tensors: Sequence[StoredTensor], path: Path) -> None:
    """Every tensor has a name and bytes of its own."""
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise corrupt(path, "a tensor name appears twice")
    filled = sorted((tensor for tensor in tensors if tensor.nbytes), key=lambda tensor: tensor.offset)
    for one, other in itertools.pairwise(filled):
        if one.offset + one.nbytes > other.offset:
            raise corrupt(path, f"tensors {one.name!r} and {other.name!r} lie in each other")


class _Cursor:
    """A position in the header, read as far as it was asked for; past its end is a corrupt checkpoint, not a struct error."""

    _PIECE: Final = 2**20

    def __init__(self, file: BinaryIO, size: int, path: Path) -> None:
        self.path, self.at = path, 0
        self._file, self._size, self._steps = file, size, 0
        self._read = bytearray()

    @property
    def passed(self) -> bytes:
        """Everything before the position."""
        return bytes(self._read[: self.at])

    def spend(self, steps: int) -> None:
        """Count steps, before they are taken."""
        self._steps += steps
        if self._steps > STEP_LIMIT:
            raise corrupt(self.path, f"its header lists more than {STEP_LIMIT:,} fields, words and tensors")

    def advance(self, count: int) -> int:
        """Step over ``count`` bytes; the position before."""
        before, end = self.at, self.at + count
        if end > self._size:
            raise corrupt(self.path, f"its header ends past the file's {self._size} bytes: it is truncated")
        if end > HEADER_LIMIT:
            raise corrupt(self.path, f"its header has more than {HEADER_LIMIT:,} bytes")
        if end > len(self._read):
            self._read += self._file.read(max(end - len(self._read), self._PIECE))
        if end > len(self._read):
            raise corrupt(self.path, "it became shorter while it was read")
        self.at = end
        return before

    def number(self, code: str) -> int:
        """One integer of a struct code."""
        return int(self.scalar(code))

    def scalar(self, code: str) -> int | float | bool:
        """One scalar of a struct code."""
        before = self.advance(struct.calcsize("<" + code))
        value: int | float | bool = struct.unpack_from("<" + code, self._read, before)[0]
        return value

    def text(self) -> str:
        """One string: 64-bit length and UTF-8."""
        before = self.advance(self.number("Q"))
        return self._read[before : self.at].decode("utf-8", errors="replace")

    def name(self) -> str:
        """One string that names something, of a bounded length."""
        name = self.text()
        if len(name) > NAME_LIMIT:
            raise corrupt(self.path, f"{shown(name)} is no name of a field or a tensor")
        return name


def _counts(cursor: _Cursor) -> tuple[int, int]:
    version = cursor.number("I")
    if version not in (2, 3):
        msg = f"{cursor.path} has GGUF version {version}: convert it again with a present llama.cpp (little-endian, version 3)"
        raise CorruptCheckpointError(msg)
    tensors, fields = cursor.number("Q"), cursor.number("Q")
    cursor.spend(tensors + fields)
    return tensors, fields


def _field(cursor: _Cursor) -> tuple[str, Value | ArrayField]:
    key = cursor.name()
    kind = cursor.number("I")
    if kind == _STRING:
        return key, cursor.text()
    if kind == _ARRAY:
        return key, _array(cursor, key)
    return key, cursor.scalar(_code(cursor, key, kind))


def _array(cursor: _Cursor, key: str) -> ArrayField:
    kind, length = cursor.number("I"), cursor.number("Q")
    if kind == _STRING:
        cursor.spend(length)
        for _ in range(length):
            cursor.advance(cursor.number("Q"))
    else:
        cursor.advance(length * struct.calcsize("<" + _code(cursor, key, kind)))
    return ArrayField(length)


def _code(cursor: _Cursor, key: str, kind: int) -> str:
    if kind not in _SCALARS:
        raise corrupt(cursor.path, f"field {key!r} has the unknown type {kind}")
    return _SCALARS[kind]


def _alignment(metadata: Mapping[str, Value | ArrayField], path: Path) -> int:
    value = metadata.get("general.alignment", 32)
    if not isinstance(value, int) or value < 1 or value & (value - 1):
        raise corrupt(path, f"general.alignment is {shown(value)}, not a power of two")
    return value


@dataclass(frozen=True, slots=True)
class _Info:
    name: str
    dimensions: tuple[int, ...]
    kind: int
    offset: int


def _info(cursor: _Cursor) -> _Info:
    name, count = cursor.name(), cursor.number("I")
    if count > DIMENSION_LIMIT:
        raise corrupt(cursor.path, f"tensor {name!r} has {count} dimensions; at most {DIMENSION_LIMIT} exist")
    dimensions = tuple(cursor.number("Q") for _ in range(count))
    return _Info(name, dimensions, cursor.number("I"), cursor.number("Q"))


def _stored(info: _Info, path: Path, start: int, size: int) -> StoredTensor:
    try:
        kind = GGMLQuantizationType(info.kind)
    except ValueError as error:
        raise corrupt(path, f"tensor {info.name!r} has the unknown type {info.kind}; is the gguf package old?") from error
    block, block_bytes = GGML_QUANT_SIZES[kind]
    elements = math.prod(info.dimensions)
    if info.dimensions and info.dimensions[0] % block:
        raise corrupt(path, f"tensor {info.name!r} has rows of {info.dimensions[0]}, no multiple of {kind.name}'s {block}")
    nbytes = elements // block * block_bytes
    if start + info.offset + nbytes > size:
        raise corrupt(path, f"tensor {info.name!r} ends past the file's {size} bytes: it is truncated")
    return StoredTensor(info.name, kind.name, info.dimensions[::-1], path, start + info.offset, nbytes)
