"""A file to import: read whole within a limit, and its JSON within limits of its own."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NoReturn

from planner.errors import InvalidImportError
from sensitivity.checkpoint.untrusted import parse_json

FILE_LIMIT: Final = 2**30
"""Bytes of a file: the importance matrix of a mixture of 600 billion weights has some hundred megabytes."""
TEXT_LIMIT: Final = 64 * 2**20
"""Bytes of a text: a measurement of 126 blocks of exllamav2 has 5 megabytes."""

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


@dataclass(frozen=True)
class SourceFile:
    """What is imported.

    Attributes:
        name: file name, for messages and for the provenance.
        content: its bytes.
    """

    name: str
    content: bytes

    @cached_property
    def sha256(self) -> str:
        """Hash of the content."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def text(self) -> str:
        """The content as UTF-8.

        Raises:
            InvalidImportError: it is no text, or too long for one.
        """
        self._refuse_long()
        try:
            return self.content.decode("utf-8")
        except UnicodeDecodeError:
            self.refuse("it is no UTF-8 text")

    @cached_property
    def json(self) -> Json:
        """The content as JSON of a bounded number of values, with finite numbers and without a key twice.

        Raises:
            InvalidImportError: it is no such document.
        """
        self._refuse_long()
        try:
            found: Json = parse_json(self.content, finite=True)
        except UnicodeDecodeError:
            self.refuse("it is no UTF-8 text")
        except ValueError as error:
            self.refuse(f"it is no usable JSON ({str(error)[:200]})")
        return found

    def _refuse_long(self) -> None:
        if len(self.content) > TEXT_LIMIT:
            self.refuse(f"it has {len(self.content):,} bytes, and texts of at most {TEXT_LIMIT:,} are read")

    def refuse(self, what: str, *, key: str | None = None) -> NoReturn:
        """Say which file and key cannot be imported.

        Raises:
            InvalidImportError: always.
        """
        where = "" if key is None else f", key {key[:200]!r}"
        msg = f"{self.name}{where}: {what}. Write the file again with its tool, or leave it out; nothing was imported"
        raise InvalidImportError(msg, file=self.name, key=key)


def read_source(path: Path) -> SourceFile:
    """Read a file.

    Raises:
        InvalidImportError: there is no such file, it cannot be read, or it is larger than ``FILE_LIMIT``.
    """
    try:
        size = path.stat().st_size
        if size > FILE_LIMIT:
            msg = f"{path} has {size:,} bytes, and files of at most {FILE_LIMIT:,} are imported: it is none of the known kinds"
            raise InvalidImportError(msg, file=str(path))
        return SourceFile(path.name, path.read_bytes())
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}. Name a file that another tool wrote"
        raise InvalidImportError(msg, file=str(path)) from error


def fingerprint(files: Sequence[SourceFile]) -> str:
    """Hash over the contents, in any order; that of a single file is its own."""
    hashes = sorted(file.sha256 for file in files)
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
