"""Starts `bitplan` commands in processes of their own without importing everything again: ``python -m tests.kill.starter``.

Importing torch takes seconds of a processor, and these tests kill dozens of workers. This process imports what `bitplan` imports,
computes nothing, and forks once per line on its standard input, an order as JSON; it answers with the process id. The child is a
session of its own and runs the command line itself, as the console script would.

``TROUBLE`` in a child's environment stands for a unit that goes wrong: see ``Trouble``.
"""

import ctypes
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from numpy.typing import NDArray

import api.app
from planner.cli import app as command_line
from planner.jobs.handler import UnitSpec
from planner.jobs.job import Job
from planner.storage import versions
from planner.worker import process
from planner.worker.handlers import SensitivityHandler

TROUBLE = "KILL_TEST_TROUBLE"
_CLONE_NEWNET = 0x40000000
_PRELOADED = (api.app, uvicorn, versions)  # commands import these when they run


@dataclass(frozen=True, slots=True)
class Order:
    """What to start.

    Attributes:
        arguments: of `bitplan`.
        environment: what is added to this process's.
        folder: working directory.
        log: file that standard output and error are appended to.
        network: name of the network namespace to be in; this process's if ``None``.
    """

    arguments: list[str]
    environment: Mapping[str, str]
    folder: str
    log: str
    network: str | None = None

    def line(self) -> str:
        """The order as the starter reads it."""
        return json.dumps(asdict(self)) + "\n"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What goes wrong in the units of a worker.

    Attributes:
        seconds: each unit takes so much longer, asleep.
        poison: key of a unit that kills its worker, the hard way.
        diary: file that every begun unit is noted in, a line each: key, process id, monotonic seconds.
    """

    seconds: float = 0.0
    poison: str | None = None
    diary: str | None = None

    def environment(self) -> dict[str, str]:
        """The variable that a child reads it from."""
        return {TROUBLE: json.dumps(asdict(self))}


def _troubled(trouble: Trouble) -> type[SensitivityHandler]:
    class Troubled(SensitivityHandler):
        __slots__ = ()

        def run(self, job: Job, unit: UnitSpec) -> NDArray[np.float64]:
            if trouble.diary is not None:
                with Path(trouble.diary).open("a") as diary:
                    diary.write(f"{unit.key} {os.getpid()} {time.monotonic()}\n")
            if unit.key == trouble.poison:
                os.kill(os.getpid(), signal.SIGKILL)
            result = SensitivityHandler.run(self, job, unit)
            time.sleep(trouble.seconds)
            return result

    return Troubled


def _become(order: Order) -> None:
    """Turn this forked child into the command."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    if order.network is not None:
        _enter(order.network)
    os.chdir(order.folder)
    os.environ.update(order.environment)
    if TROUBLE in order.environment:
        setattr(process, SensitivityHandler.__name__, _troubled(Trouble(**json.loads(order.environment[TROUBLE]))))
    sys.argv = ["bitplan", *order.arguments]
    command_line.main()


def _enter(network: str) -> None:
    """Join a network namespace (setns(2))."""
    with (Path("/run/netns") / network).open() as namespace:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {network}")


def main() -> None:
    """Fork a command for each order until the standard input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children that end are nobody's to wait for
    gc.freeze()  # or the first collection of each child copies every page
    for line in sys.stdin:
        given: dict[str, Any] = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(Order(**given))
            sys.exit(0)
        print(pid, flush=True)  # noqa: T201  (the answer)


if __name__ == "__main__":
    main()
