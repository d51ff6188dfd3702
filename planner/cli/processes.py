"""The processes that answer on one port: one that ends, or does not answer for long, is replaced while the others go on."""

import os
import signal
import time
from socket import socket
from typing import Final, final
from weakref import WeakKeyDictionary

import structlog
from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors.multiprocess import Multiprocess, Process

PATIENCE_SECONDS: Final = 60
"""A process that does not answer for so long is replaced: more than a start takes on a busy machine."""

_log = structlog.get_logger(__name__)


@final
class Processes(Multiprocess):
    """uvicorn's supervisor, but it waits for no process: uvicorn's stands still while one of them does not answer.

    So one that ends is replaced at once while another one is stopped, and a signal is heard.
    """

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        """No process yet; from now on signals are this one's to handle.

        Args:
            config: of the service; as many processes as its ``workers``.
            sockets: where each of them listens.
        """
        super().__init__(config, sockets)
        self._heard: WeakKeyDictionary[Process, float] = WeakKeyDictionary()

    def keep_subprocess_alive(self) -> None:
        """Look after each process; called twice a second."""
        for number, process in enumerate(self.processes):
            if self._is_well(process):
                continue
            process.kill()
            process.join()
            if process.exitcode == STARTUP_FAILURE:  # as the next one would
                _log.error("a process cannot start; the service ends", pid=process.pid)
                self.should_exit.set()
                return
            _log.warning("a process ended or does not answer; starting another", pid=process.pid, code=process.exitcode)
            self.processes[number] = started = Process(self.config, self.sockets)
            started.start()

    def terminate_all(self) -> None:
        """Tell each process to end, stopped or not."""
        super().terminate_all()
        for process in self.processes:
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, signal.SIGCONT)

    def _is_well(self, process: Process) -> bool:
        """Whether it answered a question of the last minute; the answers to this look are seen by the next one."""
        heard = self._heard.setdefault(process, time.monotonic())
        if not process.process.is_alive():
            return False
        try:
            process.parent_conn.send(b"ping")
            while process.parent_conn.poll():
                process.parent_conn.recv()
                heard = self._heard[process] = time.monotonic()
        except (OSError, EOFError):
            return False
        return time.monotonic() - heard < PATIENCE_SECONDS
