"""The wall clock of the processes under test, which can be set while they run; the machine's own is left alone.

A few lines of C stand before the C library's clock (``LD_PRELOAD``) and add a number of seconds that all processes share through
a mapped file. They are compiled on the spot.
"""

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self, final

DAY = 86_400
_SOURCE = Path(__file__).with_name("clock.c")


@final
@dataclass(frozen=True, slots=True)
class Clock:
    """A clock that its processes believe in.

    Attributes:
        folder: of the library and of the file that says how wrong the clock is; other users must be able to read it.
        compiler: C compiler; without one the clock cannot be set.
    """

    folder: Path
    compiler: str | None

    @classmethod
    def create(cls, folder: Path) -> Self:
        """A clock that is right so far."""
        folder.mkdir()
        clock = cls(folder, shutil.which("cc"))
        clock.set(0)
        if clock.compiler is not None:
            command = [clock.compiler, "-shared", "-fPIC", "-O1", "-o", str(clock._library), str(_SOURCE), "-ldl"]
            subprocess.run(command, check=True)
        return clock

    def environment(self) -> dict[str, str]:
        """What makes a new process believe in this clock; nothing without a compiler."""
        if self.compiler is None:
            return {}
        return {"LD_PRELOAD": str(self._library), "KILL_TEST_CLOCK": str(self._offset)}

    def set(self, seconds: int) -> None:
        """Let the clock be wrong by so many seconds, from now on, for all its processes."""
        with self._offset.open("r+b" if self._offset.exists() else "wb") as file:  # in place: the file is mapped
            file.write(struct.pack("=q", seconds))

    @property
    def _library(self) -> Path:
        return self.folder / "clock.so"

    @property
    def _offset(self) -> Path:
        return self.folder / "offset"
