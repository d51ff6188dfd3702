"""Processes that answer on one port: each is looked after, and none is waited for. Here they only sleep."""

import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors.multiprocess import SIGNALS, Process

from planner.cli import processes
from planner.cli.processes import Processes

PATIENCE_SECONDS = 30
CONFIG = Config("none", workers=2)


class Sleeper:
    """What ``multiprocessing`` has for a process."""

    def __init__(self, ending: int | None = None) -> None:
        self.program = subprocess.Popen(["sleep", "600"] if ending is None else ["sh", "-c", f"exit {ending}"])
        if ending is not None:
            self.join()

    @property
    def pid(self) -> int:
        return self.program.pid

    @property
    def exitcode(self) -> int | None:
        return self.program.poll()

    def is_alive(self) -> bool:
        return self.exitcode is None

    def start(self) -> None:
        """It runs since it was made."""

    def kill(self) -> None:
        self.program.kill()

    def join(self) -> None:
        self.program.wait(PATIENCE_SECONDS)


def sleeping(*_: Any, ending: int | None = None) -> Process:
    found = Process(CONFIG, [])
    found.process = Sleeper(ending)  # type: ignore[assignment]
    return found


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    monkeypatch.setattr(processes, "Process", sleeping)
    made = Processes(CONFIG, [])
    made.processes = [sleeping(), sleeping()]
    yield made
    for process in made.processes:
        process.kill()
        process.join()
        process.child_conn.close()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_process_that_is_gone_is_replaced_while_another_one_does_not_answer(supervisor: Processes) -> None:
    silent, gone = supervisor.processes
    supervisor.keep_subprocess_alive()
    gone.process.kill()
    gone.join()
    supervisor.keep_subprocess_alive()
    assert supervisor.processes[0] is silent
    assert supervisor.processes[1].pid != gone.pid


def test_a_process_that_does_not_answer_is_replaced_and_no_other(supervisor: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    silent, well = supervisor.processes
    supervisor.keep_subprocess_alive()
    well.child_conn.recv()
    well.child_conn.send(True)
    heard = supervisor._heard[well]
    while supervisor._heard[well] == heard:
        supervisor.keep_subprocess_alive()
    monkeypatch.setattr(processes, "PATIENCE_SECONDS", supervisor._heard[well] - supervisor._heard[silent])
    well.child_conn.send(True)
    supervisor.keep_subprocess_alive()
    assert silent.exitcode == -signal.SIGKILL
    assert [process.pid == silent.pid for process in supervisor.processes] == [False, False]
    assert supervisor.processes[1] is well


def test_a_service_that_cannot_start_ends(supervisor: Processes) -> None:
    supervisor.processes.append(sleeping(ending=STARTUP_FAILURE))
    supervisor.keep_subprocess_alive()
    assert supervisor.should_exit.is_set()


def test_a_process_that_is_stopped_ends_with_the_others(supervisor: Processes) -> None:
    stopped, other = supervisor.processes
    assert stopped.pid is not None
    os.kill(stopped.pid, signal.SIGSTOP)
    supervisor.terminate_all()
    supervisor.join_all()
    assert stopped.exitcode == other.exitcode == -signal.SIGTERM
