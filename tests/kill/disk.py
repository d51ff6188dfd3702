"""A small disk in memory that can be filled and made read-only."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final


def may_mount() -> bool:
    """Whether this process may mount a disk, and make network namespaces."""
    return os.geteuid() == 0


@final
@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A mounted disk."""

    folder: Path

    def fill(self) -> None:
        """Let somebody else's file take every byte that is left."""
        with self._ballast.open("wb", buffering=0) as ballast:
            try:
                while ballast.write(bytes(4096)):
                    pass
            except OSError:
                return

    def empty(self) -> None:
        """Take the other's file away."""
        self._ballast.unlink()

    def freeze(self) -> None:
        """Make it read-only; nobody may have a file open for writing."""
        _run("mount", "-o", "remount,ro", str(self.folder))

    def thaw(self) -> None:
        """Let it be written to again."""
        _run("mount", "-o", "remount,rw", str(self.folder))

    @property
    def _ballast(self) -> Path:
        return self.folder / "somebody-elses-file"


@contextmanager
def small_disk(folder: Path, *, megabytes: int) -> Iterator[SmallDisk]:
    """Mount one in a folder (as root), and take it away again."""
    folder.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "bitplan-kill-test", str(folder))
    try:
        yield SmallDisk(folder)
    finally:
        _run("umount", "--lazy", str(folder))


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
