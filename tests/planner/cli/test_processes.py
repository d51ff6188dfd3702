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
CONFIG = Config("none", workers=2, log_config=None)


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
    for process in (*made.processes, *(process for process, _ in made._leaving), *filter(None, [coming(made)])):
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


@pytest.mark.parametrize("told", [False, True])
def test_no_process_is_started_while_the_service_stops(supervisor: Processes, told: bool) -> None:
    first, second = supervisor.processes
    if told:
        supervisor.should_exit.set()
    else:  # the signal of a terminal reaches the processes as well
        supervisor.signal_queue.append(signal.SIGINT)
    first.process.kill()
    first.join()
    supervisor.restart_all()
    supervisor.keep_subprocess_alive()
    assert supervisor.processes == [first, second]
    assert coming(supervisor) is None


def coming(supervisor: Processes) -> Process | None:
    return supervisor._next[0] if supervisor._next else None


def become_ready(process: Process | None) -> None:
    assert process is not None
    process.child_conn.send(True)


def test_processes_are_replaced_one_after_the_other_though_one_of_them_is_stopped(supervisor: Processes) -> None:
    stopped, other = supervisor.processes
    assert stopped.pid is not None
    os.kill(stopped.pid, signal.SIGSTOP)
    supervisor.handle_hup()
    for old in (stopped, other):
        supervisor.keep_subprocess_alive()
        assert old in supervisor.processes
        become_ready(coming(supervisor))
        supervisor.keep_subprocess_alive()
        assert old not in supervisor.processes
    supervisor.keep_subprocess_alive()
    assert coming(supervisor) is None
    assert len(supervisor.processes) == 2
    supervisor.join_all()
    assert stopped.exitcode == other.exitcode == -signal.SIGTERM


def test_processes_stay_if_the_next_one_is_not_ready_in_time(supervisor: Processes) -> None:
    there = list(supervisor.processes)
    supervisor.handle_hup()
    supervisor.keep_subprocess_alive()
    late = coming(supervisor)
    assert late is not None
    supervisor._next = late, 0.0
    for _ in range(2):
        supervisor.keep_subprocess_alive()
        assert coming(supervisor) is None
    assert supervisor.processes == there
    assert late.exitcode == -signal.SIGKILL


def test_a_process_more_and_one_less_wait_for_nobody(supervisor: Processes) -> None:
    supervisor.handle_ttin()
    added = supervisor.processes[-1]
    assert len(supervisor.processes) == 3
    assert added.pid is not None
    os.kill(added.pid, signal.SIGSTOP)
    for left in (2, 1, 1):
        supervisor.handle_ttou()
        assert len(supervisor.processes) == left
    supervisor.join_all()
    assert added.exitcode == -signal.SIGTERM


def test_a_process_that_does_not_end_is_killed(supervisor: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Process, "terminate", lambda _process: None)
    monkeypatch.setattr(processes, "LEAVE_SECONDS", 0)
    told: list[str] = []
    supervisor._on_stop = lambda: told.append("to stop")
    supervisor.terminate_all()
    supervisor.join_all()
    assert {process.exitcode for process in supervisor.processes} == {-signal.SIGKILL}
    assert told == ["to stop"]
