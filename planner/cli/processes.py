"""The processes that answer on one port: one that ends, or does not answer for long, is replaced while the others go on."""

import math
import os
import signal
import time
from collections.abc import Callable
from socket import socket
from typing import Final, final
from weakref import WeakKeyDictionary, WeakSet

import structlog
from typing_extensions import override
from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors.multiprocess import Multiprocess, Process

PATIENCE_SECONDS: Final = 60
"""A process that does not answer for so long is replaced: more than a start takes on a busy machine."""

LEAVE_SECONDS: Final = 15
"""A process that was told to end and has not is killed then: more than it gives its last answers."""

_LOOK_SECONDS: Final = 0.1
_SAY_STOP: Final = frozenset({signal.SIGINT, signal.SIGTERM})
_log = structlog.get_logger(__name__)


@final
class Processes(Multiprocess):
    """uvicorn's supervisor, but it waits for no process: uvicorn's stands still while one of them does not answer.

    So one that ends is replaced at once while another one is stopped, and a signal is heard. SIGHUP replaces them one after the
    other, each once the next one answers; SIGTTIN adds one, SIGTTOU takes one away.
    """

    def __init__(self, config: Config, sockets: list[socket], *, on_stop: Callable[[], None] | None = None) -> None:
        """No process yet; from now on signals are this one's to handle.

        Args:
            config: of the service; as many processes as its ``workers``.
            sockets: where each of them listens.
            on_stop: called when they are told to end.
        """
        super().__init__(config, sockets)
        self._on_stop = on_stop
        self._heard: WeakKeyDictionary[Process, float] = WeakKeyDictionary()
        self._ready: WeakSet[Process] = WeakSet()
        self._outdated: list[Process] = []  # are to be replaced
        self._next: tuple[Process, float] | None = None  # replaces one of them once it is ready, and until when it has to be
        self._leaving: list[tuple[Process, float]] = []  # were told to end, and when each is killed

    @override
    def keep_subprocess_alive(self) -> None:
        """Look after each process; called twice a second."""
        if self._stops():
            return
        for number, process in enumerate(self.processes):
            if self._is_well(process):
                continue
            process.kill()
            process.join()
            if process.exitcode == STARTUP_FAILURE:  # as the next one would
                _log.error("a process cannot start; the service ends", pid=process.pid)
                self.should_exit.set()
            if self._stops():
                return
            _log.warning("a process ended or does not answer; starting another", pid=process.pid, code=process.exitcode)
            self.processes[number] = self._started()
        self._go_on_replacing()
        self._see_off()

    @override
    def restart_all(self) -> None:
        """Replace each process, from the next look on."""
        self._outdated = list(self.processes)

    @override
    def handle_ttou(self) -> None:
        """Take one process away, but not the last."""
        if self.processes_num > 1:
            self.processes_num -= 1
            self._tell_to_end(self.processes.pop())

    @override
    def terminate_all(self) -> None:
        """Tell each process to end, stopped or not."""
        if self._on_stop is not None:
            self._on_stop()
        coming = [] if self._next is None else [self._next[0]]
        for process in (*self.processes, *coming):
            self._tell_to_end(process)

    @override
    def join_all(self) -> None:
        """Wait until all that were told to end have ended, or had to be killed."""
        while self._leaving:
            self._see_off()
            time.sleep(_LOOK_SECONDS)

    def _stops(self) -> bool:
        """Whether the service ends: processes that a terminal's signal has reached end before this one is told of it."""
        return self.should_exit.is_set() or not _SAY_STOP.isdisjoint(self.signal_queue)

    def _started(self) -> Process:
        process = Process(self.config, self.sockets)
        process.start()
        return process

    def _go_on_replacing(self) -> None:
        """The next step towards processes of which none is outdated."""
        self._outdated = [process for process in self._outdated if process in self.processes]
        if self._next is None:
            if self._outdated and not self._stops():
                self._next = self._started(), time.monotonic() + PATIENCE_SECONDS
            return
        coming, until = self._next
        well = self._is_well(coming)
        if well and coming in self._ready:
            self._next = None
            if not self._outdated:  # it was taken away, or ended and was replaced
                self._tell_to_end(coming)
                return
            old = self._outdated.pop(0)
            self.processes[self.processes.index(old)] = coming
            self._tell_to_end(old)
        elif not well or time.monotonic() >= until:
            _log.error("a process was not ready in time; those that are there stay", pid=coming.pid)
            self._next, self._outdated = None, []
            coming.kill()
            coming.join()

    def _tell_to_end(self, process: Process) -> None:
        process.terminate()
        if process.pid is not None and process.exitcode is None:
            os.kill(process.pid, signal.SIGCONT)
        self._leaving.append((process, time.monotonic() + LEAVE_SECONDS))

    def _see_off(self) -> None:
        """Forget processes that ended; kill those that were told to end long ago."""
        there = [(process, until) for process, until in self._leaving if process.exitcode is None]
        for number, (process, until) in enumerate(there):
            if time.monotonic() >= until:
                _log.warning("a process does not end; killing it", pid=process.pid)
                process.kill()
                there[number] = process, math.inf
        self._leaving = there

    def _is_well(self, process: Process) -> bool:
        """Whether it answered a question of the last minute; the answers to this look are seen by the next one."""
        heard = self._heard.setdefault(process, time.monotonic())
        if not process.process.is_alive():
            return False
        try:
            process.parent_conn.send(b"ping")
            while process.parent_conn.poll():
                if process.parent_conn.recv():
                    self._ready.add(process)
                heard = self._heard[process] = time.monotonic()
        except (OSError, EOFError):
            return False
        return time.monotonic() - heard < PATIENCE_SECONDS
