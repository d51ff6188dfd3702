"""The load generator: wrk (Debian's package), one thread of C that keeps every client's next request on the wire."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("requests.lua")


class MissingGeneratorError(Exception):
    """wrk is not installed."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run of the generator saw.

    Attributes:
        requests: answers.
        seconds: duration.
        errors: answers of 400 and above, connections that were refused or broken, answers that never came.
        median: milliseconds.
        p99: milliseconds.
        longest: milliseconds.
    """

    requests: int
    seconds: float
    errors: int
    median: float
    p99: float
    longest: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds

    def __str__(self) -> str:
        times = f"median {self.median:.0f} ms, p99 {self.p99:.0f} ms, longest {self.longest:.0f} ms"
        return f"{self.requests} in {self.seconds:.0f} s = {self.rate:.0f}/s; {times}; {self.errors} errors"


def load(address: str, *, method: str, lines: Sequence[str], clients: int, seconds: float, folder: Path) -> Measured:
    """Ask as fast as answers come, from so many clients at once.

    Args:
        address: ``http://127.0.0.1:8000``.
        method: ``POST`` sends the lines as bodies to ``/v1/plans``; ``GET`` asks for them as paths.
        lines: one request each, in order, from the start again when they are used up.
        clients: connections, each with one request under way.
        seconds: how long.
        folder: for the file of requests.

    Raises:
        MissingGeneratorError: wrk is not installed.
    """
    program = shutil.which("wrk")
    if program is None:
        msg = "the load generator wrk is not installed: apt-get install wrk"
        raise MissingGeneratorError(msg)
    asked = folder / f"{method}.txt"
    asked.write_text("\n".join(lines))
    command = [program, "-t1", f"-c{clients}", f"-d{seconds:.0f}s", "--timeout", "30s", "-s", str(SCRIPT), address]
    done = subprocess.run([*command, "--", method, str(asked)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return Measured(**found)
