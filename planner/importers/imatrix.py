"""llama.cpp's importance matrix: sums of squares of every input of every matrix. Moments of inputs, not losses.

GGUF files hold ``<tensor>.in_sum2`` (Σx² of each input, a row for each expert of a stack) and ``<tensor>.counts`` (tokens);
the older ``.dat`` holds means times the number of chunks. Both have GGUF's tensor names. The rows of q and k are permuted in
GGUF, their inputs are not.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, final

import numpy as np
from numpy.typing import NDArray

from planner.importers.names import ModelNames
from planner.importers.port import AbstractImporter, ImportedMoments, OptionValue
from planner.importers.source import SourceFile
from planner.importers.values import word
from sensitivity.checkpoint.description import Layer
from sensitivity.checkpoint.gguf_header import MAGIC, GgufHeader, parse_gguf
from sensitivity.errors import CorruptCheckpointError

_SUMS, _COUNTS = ".in_sum2", ".counts"
_TYPE: Final = "imatrix"
_MOST_ENTRIES: Final = 100_000
_MOST_NAME: Final = 512


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """Second moments of the inputs of one tensor: float64 (matrices, in) and the tokens of each matrix (1 where unknown)."""

    tensor: str
    means: NDArray[np.float64]
    tokens: NDArray[np.float64]


@final
class ImatrixImporter(AbstractImporter):
    """Both kinds of file, told apart by GGUF's magic."""

    name: ClassVar[str] = "imatrix"
    tool: ClassVar[str] = "llama.cpp"
    version: ClassVar[int] = 1

    def detects(self, file: SourceFile) -> bool:
        """A GGUF of the type imatrix, or a file that begins with a number of entries and the name of a tensor."""
        if file.content[:4] == MAGIC:
            try:
                return _header(file).metadata.get("general.type") == _TYPE
            except CorruptCheckpointError:
                return True
        if len(file.content) < 8:
            return False
        entries, length = struct.unpack_from("<ii", file.content)
        name = file.content[8 : 8 + max(0, length)]
        return 0 < entries <= _MOST_ENTRIES and 0 < length <= _MOST_NAME and name.isascii() and name.endswith(b".weight")

    def read(self, files: Sequence[SourceFile], names: ModelNames, options: Mapping[str, OptionValue]) -> ImportedMoments:
        """One file; experts of a stack that no token reached are ``silent``."""
        file = files[0]
        if len(files) > 1:
            files[1].refuse("merge importance matrices with llama-imatrix --in-file; import one file at a time")
        if not names.gguf:
            file.refuse(f"GGUF's tensor names of a {names.architecture} are not known here")
        if file.content[:4] == MAGIC:
            header = _checked_header(file)
            facts, entries = _facts(header), _of_gguf(header, file)
        else:
            facts, entries = {"schema": "dat"}, _of_dat(file)
        moments: dict[str, NDArray[np.float64]] = {}
        silent: list[str] = []
        skipped: list[str] = []
        for entry in entries:
            layers = _layers(entry, names, file)
            if not layers:
                skipped.append(entry.tensor)
            means = _matched(entry, layers, file)
            for layer, mean, tokens in zip(layers, means, np.broadcast_to(entry.tokens, len(layers)), strict=True):
                if layer.name in moments:
                    file.refuse("it is there twice", key=entry.tensor)
                moments[layer.name] = mean
                if not tokens:
                    silent.append(layer.name)
        if not moments:
            file.refuse("it has no moments of any layer of the model")
        return ImportedMoments(moments, tuple(silent), facts, tuple(skipped))


def _layers(entry: _Entry, names: ModelNames, file: SourceFile) -> list[Layer]:
    """The layers of a tensor, several for a stack of experts; empty for what is no layer here."""
    layers = names.gguf.get(entry.tensor, [])
    if not layers and not names.is_no_layer_of_gguf(entry.tensor.removesuffix(".weight")):
        names.refuse(entry.tensor, file)
    return layers


def _matched(entry: _Entry, layers: Sequence[Layer], file: SourceFile) -> NDArray[np.float64]:
    """The moments as (layers, in); a ``.dat`` has those of a stack in one row."""
    shape = (len(layers), layers[0].in_features) if layers else (0, 0)
    if entry.means.size != shape[0] * shape[1] and layers:
        file.refuse(f"it has {entry.means.size:,} moments, and the model needs {shape[0]} × {shape[1]}", key=entry.tensor)
    return entry.means.reshape(shape) if layers else np.zeros(shape)


def _header(file: SourceFile) -> GgufHeader:
    return parse_gguf(file.content, Path(file.name))


def _checked_header(file: SourceFile) -> GgufHeader:
    try:
        header = _header(file)
    except CorruptCheckpointError as error:
        file.refuse(str(error))
    if header.metadata.get("general.type") != _TYPE:
        file.refuse("it is a GGUF, but no importance matrix; models are registered, not imported (bitplan models add)")
    return header


def _facts(header: GgufHeader) -> dict[str, float | int | str]:
    found: dict[str, float | int | str] = {"schema": "gguf"}
    for key in ("chunk_count", "chunk_size"):
        value = header.metadata.get(f"imatrix.{key}")
        if isinstance(value, int):
            found[key] = value
    return found


def _of_gguf(header: GgufHeader, file: SourceFile) -> Iterator[_Entry]:
    tensors = {tensor.name: tensor for tensor in header.weights.tensors}
    for name in sorted(tensors):
        if not name.endswith(_SUMS):
            continue
        tensor = name.removesuffix(_SUMS)
        sums, counts = tensors[name], tensors.get(tensor + _COUNTS)
        if counts is None or sums.dtype != "F32" or counts.dtype != "F32" or len(sums.shape) not in (1, 2) or not sums.elements:
            file.refuse("Σx² and the counts of its tokens are expected, both float32", key=tensor)
        values = _floats(file, sums.offset, sums.elements, tensor).reshape(-1, sums.shape[-1])
        tokens = _floats(file, counts.offset, counts.elements, tensor)
        if len(tokens) not in (1, len(values)):
            file.refuse(f"it has {len(tokens)} counts for {len(values)} matrices", key=tensor)
        tokens = np.broadcast_to(tokens, len(values))
        yield _Entry(tensor, values / np.maximum(tokens, 1.0)[:, None], tokens)


def _of_dat(file: SourceFile) -> Iterator[_Entry]:
    """Entries of a ``.dat``, which does not say how many experts a stack has, nor how many tokens each saw."""
    at = 4
    (entries,) = _integers(file, 0, 1, "number of entries")
    for number in range(entries):
        key = f"entry {number}"
        (length,) = _integers(file, at, 1, key)
        if not 0 < length <= _MOST_NAME or at + 4 + length > len(file.content):
            file.refuse("its name ends past the file, which is truncated or no importance matrix", key=key)
        name = word(file.content[at + 4 : at + 4 + length].decode("utf-8", errors="replace"), length=_MOST_NAME)
        at += 4 + length
        calls, values = _integers(file, at, 2, name)
        if calls < 1 or values < 1:
            file.refuse(f"{values} moments over {calls} chunks; both must be positive", key=name)
        means = _floats(file, at + 8, values, name) / calls
        at += 8 + 4 * values
        yield _Entry(name, means[None, :], np.ones(1))


def _integers(file: SourceFile, at: int, count: int, key: str) -> tuple[int, ...]:
    try:
        return struct.unpack_from(f"<{count}i", file.content, at)
    except struct.error:
        file.refuse("it ends in the middle of an entry: it is truncated", key=key)


def _floats(file: SourceFile, at: int, count: int, key: str) -> NDArray[np.float64]:
    if at + 4 * count > len(file.content):
        file.refuse(f"{count:,} numbers end past the file: it is truncated", key=key)
    found = np.frombuffer(file.content, dtype="<f4", count=count, offset=at).astype(np.float64)
    if not np.isfinite(found).all() or (found < 0).any():
        file.refuse("sums of squares must be finite and not negative", key=key)
    return found
