"""Where a model source lies on this machine: a directory, a GGUF file, or the snapshot of a hub id."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sensitivity.checkpoint.description import SourceKind
from sensitivity.checkpoint.gguf_header import is_gguf
from sensitivity.checkpoint.untrusted import shown
from sensitivity.errors import NoWeightsError, SourceNotFoundError

_HUB_ID: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,95}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION: Final = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
_FILES: Final = ["*.json", "*.safetensors", "tokenizer.model", "merges.txt"]


@dataclass(frozen=True, slots=True)
class Place:
    """A source that is there.

    Attributes:
        path: absolute path of the directory or the file.
        kind: how the weights are stored.
        revision: commit of a hub snapshot; for local paths what was asked for.
    """

    path: Path
    kind: SourceKind
    revision: str | None


def locate(source: str, *, revision: str | None = None) -> Place:
    """Find a source. A hub id is looked up in the local hub cache only: registering never downloads.

    Raises:
        SourceNotFoundError: nothing is there.
        NoWeightsError: a file that is no GGUF.
    """
    if "\0" in source or not source.strip():
        msg = f"{source!r} is no source: give a directory of safetensors, a GGUF file or a hub id"
        raise SourceNotFoundError(msg)
    try:
        path = Path(source).expanduser()
        if path.is_dir():
            return Place(path.absolute(), SourceKind.SAFETENSORS, revision)
        if path.is_file():
            return _gguf(path.absolute(), revision)
    except (OSError, RuntimeError) as error:  # a name too long, a folder that may not be entered, an unknown ~user
        msg = f"there is no directory or file {source[:200]!r} that can be read ({error}): check the path and its permissions"
        raise SourceNotFoundError(msg) from error
    if not is_hub_id(source):
        msg = f"there is no directory or file {source!r}: check the path, or give a hub id such as org/name"
        raise SourceNotFoundError(msg)
    return _snapshot(source, revision)


def is_hub_id(source: str) -> bool:
    """Whether a source may be the id of a hub model: ``name`` or ``organisation/name``, ASCII, nothing that climbs or hides."""
    return _HUB_ID.fullmatch(source) is not None and not source.endswith(".gguf")


def _gguf(path: Path, revision: str | None) -> Place:
    if not is_gguf(path):
        what = "give the directory that it is in" if path.suffix == ".safetensors" else "give a GGUF file or a directory"
        msg = f"{path} is not a GGUF file: {what}"
        raise NoWeightsError(msg)
    return Place(path, SourceKind.GGUF, revision)


def _snapshot(source: str, revision: str | None) -> Place:
    if revision is not None and not _REVISION.fullmatch(revision):  # it becomes a path in the cache
        msg = f"{shown(revision)} is no revision of {source}: give a branch, a tag or a commit"
        raise SourceNotFoundError(msg)
    # Imported here: only hub ids need it, and the request path should not pay for it.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(source, revision=revision, allow_patterns=_FILES, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError, OSError) as error:
        wanted = source if revision is None else f"{source} --revision {revision}"
        msg = f"{source!r} is neither a path nor in the local hub cache: run `hf download {wanted}` first, or check the name"
        raise SourceNotFoundError(msg) from error
    path = Path(folder)
    return Place(path.absolute(), SourceKind.SAFETENSORS, path.name)
