"""`bitplan` processes as an operator has them: started, killed, frozen, thawed, and asked what they said."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import psutil

from tests.kill.starter import Order

REPOSITORY = Path(__file__).parents[2]
PATIENCE_SECONDS = 300.0
POLL_SECONDS = 0.15
"""Between two looks at something: who looks all the time takes the processor from what is looked at."""
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "BITPLAN_TORCH_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""One thread each: many processes share the cores, and sums of floats depend on how many threads add them."""


def wait(condition: Callable[[], object], what: str, *, seconds: float = PATIENCE_SECONDS) -> None:
    """Look again and again until the condition holds.

    Raises:
        TimeoutError: it does not.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            msg = f"waited {seconds:.0f} s in vain: {what}"
            raise TimeoutError(msg)
        time.sleep(POLL_SECONDS)


@final
@dataclass(frozen=True, slots=True)
class Running:
    """One process, the leader of a session.

    Attributes:
        pid: its process id.
        log: what it prints.
        child: the same process, if it is a child of this one, which has to take note of its end.
    """

    pid: int
    log: Path
    child: subprocess.Popen[bytes] | None = None

    @property
    def is_alive(self) -> bool:
        """It has not ended, with all its threads."""
        return psutil.pid_exists(self.pid) if self.child is None else self.child.poll() is None

    @property
    def said(self) -> str:
        """Everything that it printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def children(self) -> list[int]:
        """Process ids of its children."""
        with suppress(psutil.NoSuchProcess):
            return [child.pid for child in psutil.Process(self.pid).children()]
        return []

    def send(self, number: int) -> None:
        """Send a signal to this process alone; nothing happens if it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to this process alone, and wait until it is gone: what it held (locks, its port) is free then."""
        self.send(signal.SIGKILL)
        wait(lambda: not self.is_alive, f"process {self.pid} goes on after SIGKILL")

    def end_session(self) -> None:
        """SIGKILL to everything that it started and that has not left its session."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


@dataclass(slots=True)
class Starter:
    """Starts `bitplan` commands: cold as the console script, or warm, forked from a process that has imported everything.

    Attributes:
        folder: where logs go.
        environment: added to every process's, before what it gets of its own.
        cold: start new interpreters, as an operator does; each takes seconds of a processor.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    cold: bool = False
    started: list[Running] = field(default_factory=list)
    _warm: subprocess.Popen[str] | None = None

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], *, name: str, folder: Path, network: str | None = None
    ) -> Running:
        """Start ``bitplan ARGUMENTS`` in a folder; its output is appended to ``name.log`` of the starter's folder."""
        log = self.folder / f"{name}.log"
        order = Order(list(arguments), dict(environment), str(folder), str(log), network)
        running = self._cold(order) if self.cold else Running(self._fork(order), log)
        self.started.append(running)
        return running

    def stop(self) -> None:
        """Kill all that was started."""
        for running in self.started:
            running.end_session()
            if running.child is not None:
                running.child.wait()
        if self._warm is not None:
            self._warm.kill()
            self._warm.communicate()
        self.started, self._warm = [], None

    def _cold(self, order: Order) -> Running:
        inside = [] if order.network is None else ["ip", "netns", "exec", order.network]
        command = [*inside, str(Path(sys.executable).parent / "bitplan"), *order.arguments]
        with Path(order.log).open("ab") as log:
            popen = subprocess.Popen(
                command,
                env={**os.environ, **ONE_THREAD, **self.environment, **order.environment},
                cwd=order.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return Running(popen.pid, Path(order.log), popen)

    def _fork(self, order: Order) -> int:
        if self._warm is None:
            self._warm = subprocess.Popen(
                [sys.executable, "-m", "tests.kill.starter"],
                env={**os.environ, **ONE_THREAD, **self.environment},
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._warm.stdin is not None
        assert self._warm.stdout is not None
        self._warm.stdin.write(order.line())
        self._warm.stdin.flush()
        return int(self._warm.stdout.readline())
