"""The identity of a checkpoint: SHA-256 over what can be read in seconds, also from 140 GB.

Hashed: ``config.json``; name, dtype and shape of every tensor; size and header bytes of every weight file; the tokenizer's
files; and contents. Up to ``WHOLE_LIMIT`` bytes of weights are hashed whole. Above, ``CHUNKS`` chunks of ``CHUNK_BYTES``
spread evenly over each tensor (its first and last bytes among them) are: retraining, merging an adapter, another
quantization or a replaced shard change nearly every element of the tensors they touch, so every chunk of these shows it,
while a read per tensor costs a 70B model about 3,000 reads instead of 140 GB.

Not covered above ``WHOLE_LIMIT``: a change of single bytes between the chunks (a flipped bit on disk, a forged weight).
Safetensors keep no checksums, so nothing short of reading all of it covers that. Files beside those named above (generation
settings, chat templates in files of their own, model cards) are not part of the identity, nor are names of weight files.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from sensitivity.checkpoint.tensors import StoredTensor, WeightFile
from sensitivity.checkpoint.untrusted import corrupt
from sensitivity.errors import CorruptCheckpointError

WHOLE_LIMIT: Final = 256 * 2**20
CHUNKS: Final = 4
CHUNK_BYTES: Final = 4096
TEXT_LIMIT: Final = 2**30
"""Bytes of a tokenizer's file, which is hashed whole; real ones have some ten megabytes."""
_STEP: Final = 2**20
TOKENIZER_FILES: Final = (
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
)
_SCHEME: Final = b"bitplan checkpoint fingerprint 1"


def fingerprint(files: Sequence[WeightFile], *, texts: Sequence[Path], whole_limit: int = WHOLE_LIMIT) -> str:
    """SHA-256, in hexadecimal, of a checkpoint as the module says.

    Args:
        files: weight files with their headers, in a fixed order.
        texts: configuration and tokenizer files; their names count too.
        whole_limit: total bytes of weights up to which contents are hashed whole.

    Raises:
        CorruptCheckpointError: a file became shorter while it was read, or a tokenizer's file is too large.
    """
    digest = hashlib.sha256(_SCHEME)
    for path in texts:
        _add(digest, path.name.encode())
        _add_file(digest, path)
    whole = sum(file.size for file in files) <= whole_limit
    for file in files:
        _add(digest, str(file.size).encode(), file.header_digest.encode())
        for tensor in file.tensors:
            _add(digest, tensor.name.encode(), tensor.dtype.encode(), repr(tensor.shape).encode())
        spans = _spans(file.size) if whole else _samples(file.tensors)
        for content in _read(file.path, spans):
            digest.update(content)
    return digest.hexdigest()


def sampled(tensor: StoredTensor) -> bytes:
    """The chunks of one tensor that are hashed above the limit, joined.

    Raises:
        CorruptCheckpointError: the file became shorter while it was read.
    """
    return b"".join(_read(tensor.file, _samples([tensor])))


def tokenizer_files(directory: Path) -> list[Path]:
    """The tokenizer's files that are there, sorted by name."""
    return [path for name in TOKENIZER_FILES if (path := directory / name).is_file()]


def _add(digest: "hashlib._Hash", *parts: bytes) -> None:
    """Add parts with their lengths, so that no two sequences of parts run together to the same bytes."""
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)


def _add_file(digest: "hashlib._Hash", path: Path) -> None:
    """Add a file as ``_add`` would, without ever holding all of it."""
    size = path.stat().st_size
    if size > TEXT_LIMIT:
        raise corrupt(path, f"it has {size:,} bytes, and tokenizers have less than {TEXT_LIMIT:,}")
    digest.update(size.to_bytes(8, "little"))
    for content in _read(path, _spans(size)):
        digest.update(content)


def _spans(size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(_STEP, size - start)) for start in range(0, size, _STEP))


def _samples(tensors: Iterable[StoredTensor]) -> Iterator[tuple[int, int]]:
    for tensor in sorted(tensors, key=lambda t: t.offset):
        if tensor.nbytes <= CHUNKS * CHUNK_BYTES:
            yield tensor.offset, tensor.nbytes
            continue
        last = tensor.nbytes - CHUNK_BYTES
        for chunk in range(CHUNKS):
            yield tensor.offset + last * chunk // (CHUNKS - 1), CHUNK_BYTES


def _read(path: Path, spans: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        for offset, length in spans:
            content = os.pread(file.fileno(), length, offset)
            if len(content) != length:
                msg = f"{path} became shorter while it was read: wait until it is written, then register it again"
                raise CorruptCheckpointError(msg)
            yield content
