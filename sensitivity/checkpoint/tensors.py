"""One tensor as a header names it, and the files that hold it. No torch here."""

import math
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor that a header names.

    Attributes:
        name: name in the file.
        dtype: dtype in the words of numpy and torch (``bfloat16``), or a GGUF type (``Q4_K``).
        shape: shape with the outermost dimension first, also for GGUF.
        file: the file that holds it.
        offset: first byte in the file.
        nbytes: stored bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int
    nbytes: int

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A file of weights whose header was read and found consistent.

    Attributes:
        path: the file.
        size: its bytes.
        header_digest: SHA-256 of the header bytes.
        tensors: what it holds, in the order of the header.
    """

    path: Path
    size: int
    header_digest: str
    tensors: tuple[StoredTensor, ...]
