"""Which units were begun, by whom and when: written by the workers of these tests (``Trouble.diary``)."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from tests.kill.processes import wait


@final
@dataclass(frozen=True, slots=True)
class Diary:
    """A file with a line for every unit that was begun."""

    path: Path

    def read(self) -> list[tuple[str, int, float]]:
        """Key, process id and monotonic seconds of every unit that was begun, in order."""
        lines = [line.split() for line in self.path.read_text().splitlines()] if self.path.exists() else []
        return [(key, int(pid), float(seconds)) for key, pid, seconds in lines]

    def wait_for(self, key: str, pid: int) -> float:
        """When a process began a unit, in monotonic seconds.

        Raises:
            TimeoutError: it never does.
        """
        times: list[float] = []

        def begun() -> bool:
            times.extend(seconds for unit, worker, seconds in self.read() if (unit, worker) == (key, pid))
            return bool(times)

        wait(begun, f"process {pid} begins unit {key}")
        return times[0]
