"""What a search has measured, kept in a file, so that a killed search goes on bit for bit.

A search is a function of its settings and of the values that the fitness gave. So a checkpoint holds these values, in the
order in which they were measured, and to resume is to search again with the values read instead of measured: choices,
history, counts and memory come out as they were, from wherever the file ends.
"""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from solvers.errors import CheckpointError, SettingError

FORMAT = "evolution checkpoint"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where and how often to keep what was measured.

    Attributes:
        path: a JSON file, read if it is there and written whole beside it before it is replaced.
        subject: what the fitness measures (model, calibration set, metric), in words or as a fingerprint. A callable cannot
            be compared, so this is what keeps the values of one model from being read for another.
        every: generations between two writes. The file is also written when the search ends and when the fitness raises.
    """

    path: Path
    subject: str
    every: int = 1

    def __post_init__(self) -> None:
        if self.every < 1:
            msg = f"every is {self.every}; give 1 generation or more"
            raise SettingError(msg)


@dataclass(frozen=True, slots=True)
class Batch:
    """Values of one call.

    Attributes:
        name: tells what was measured: the choices and the sample.
        values: their fitness, ``inf`` where it was not finite.
    """

    name: str
    values: tuple[float, ...]


@dataclass(slots=True)
class Record:
    """Batches measured so far: those of the file, to be read once more in their order, and those of this run.

    Attributes:
        checkpoint: where they are kept; ``None`` keeps nothing.
        fingerprint: of everything that a search depends on besides the values.
        batches: all batches in order.
    """

    checkpoint: Checkpoint | None
    fingerprint: str
    batches: list[Batch] = field(default_factory=list)
    _read: int = 0
    _saved: int = 0

    @classmethod
    def open(cls, checkpoint: Checkpoint | None, fingerprint: str) -> "Record":
        """A new record, or that of the file.

        Raises:
            CheckpointError: the file is damaged, of another format, or of another search.
        """
        if checkpoint is None or not checkpoint.path.exists():
            return cls(checkpoint, fingerprint)
        batches = _load(checkpoint.path, fingerprint)
        return cls(checkpoint, fingerprint, batches, 0, len(batches))

    @property
    def replaying(self) -> bool:
        """Batches of the file are left to be read."""
        return self._read < len(self.batches)

    def replay(self, name: str, count: int) -> tuple[float, ...]:
        """The values of the next batch of the file.

        Raises:
            CheckpointError: it is of other choices: written by another version of this package or of numpy.
        """
        batch = self.batches[self._read]
        if batch.name != name or len(batch.values) != count:
            msg = (
                f"batch {self._read} of the checkpoint measured other choices than this search asks for: another version "
                "wrote it; delete the file to begin again"
            )
            raise CheckpointError(msg)
        self._read += 1
        return batch.values

    def add(self, name: str, values: Sequence[float]) -> None:
        """Keep what was just measured."""
        self.batches.append(Batch(name, tuple(values)))
        self._read += 1

    def end_generation(self, number: int) -> None:
        """Write the file where its turn has come."""
        if self.checkpoint is not None and number % self.checkpoint.every == 0 and not self.replaying:
            self.save()

    def save(self) -> None:
        """Write the file if there is something new: whole, beside the old one, which it then replaces."""
        if self.checkpoint is None or self._saved == len(self.batches):
            return
        body = {"fingerprint": self.fingerprint, "batches": [_as_json(batch) for batch in self.batches]}
        text = json.dumps({"format": FORMAT, "version": VERSION, "checksum": _checksum(body), **body}, allow_nan=False)
        path = self.checkpoint.path
        beside = path.with_name(f"{path.name}.tmp")
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        self._saved = len(self.batches)


def _as_json(batch: Batch) -> dict[str, Any]:
    return {"name": batch.name, "values": [value if math.isfinite(value) else None for value in batch.values]}


def _checksum(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _load(path: Path, fingerprint: str) -> list[Batch]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        kind, version = stored["format"], stored["version"]
        body = {name: stored[name] for name in ("fingerprint", "batches")}
        sound = stored["checksum"] == _checksum(body)
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path} is no whole checkpoint ({type(error).__name__}: {error}); delete it to begin again"
        raise CheckpointError(msg) from error
    if (kind, version) != (FORMAT, VERSION):
        msg = f"{path} has format {kind!r}, version {version}; this package reads {FORMAT!r}, version {VERSION}"
        raise CheckpointError(msg)
    if not sound:
        msg = f"the checksum of {path} does not fit its content; delete it to begin again"
        raise CheckpointError(msg)
    if body["fingerprint"] != fingerprint:
        msg = f"{path} is of another search (problem, settings, seeds or subject differ); give another path, or delete it"
        raise CheckpointError(msg)
    return [
        Batch(str(batch["name"]), tuple(math.inf if value is None else float(value) for value in batch["values"]))
        for batch in body["batches"]
    ]
