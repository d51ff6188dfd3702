"""Keeps one worker process alive beside the service: started by spawning (never a fork), restarted when it dies."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog

from planner.settings import Settings

_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 30.0
_HEALTHY_SECONDS = 60.0
_log = structlog.get_logger(__name__)


class Supervisor:
    """Runs a command again whenever it ends, after a wait that doubles while it keeps dying young."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], *, grace_seconds: float = 25.0) -> None:
        """A supervisor that has started nothing yet.

        Args:
            command: the program and its arguments.
            environment: its environment; secrets travel here, where other users cannot read them.
            grace_seconds: patience between SIGTERM and SIGKILL.
        """
        self.command = list(command)
        self.environment = dict(environment)
        self.grace_seconds = grace_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="bitplan-supervisor", daemon=True)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._kill_at = 0.0

    @property
    def pid(self) -> int | None:
        """Process id of the worker that runs now."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start the command and watch it."""
        self._thread.start()

    def begin_to_stop(self) -> None:
        """Stop watching and send the command SIGTERM, without waiting for it; the grace begins."""
        with self._lock:
            if self._stopping.is_set():
                return
            self._stopping.set()
            self._kill_at = time.monotonic() + self.grace_seconds
            if self._process is not None:
                self._process.terminate()

    def stop(self) -> None:
        """Stop watching, then the command: SIGTERM, and SIGKILL when the grace is over."""
        self.begin_to_stop()
        if self._process is not None:
            try:
                self._process.wait(max(0.0, self._kill_at - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._thread.join()

    def _supervise(self) -> None:
        wait = _FIRST_WAIT_SECONDS
        while process := self._spawn():
            start = time.monotonic()
            code = process.wait()
            if self._stopping.is_set():
                return
            if time.monotonic() - start > _HEALTHY_SECONDS:
                wait = _FIRST_WAIT_SECONDS
            _log.warning("worker ended; starting another", code=code, wait_seconds=wait)
            self._stopping.wait(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        with self._lock:  # ``stop`` sees either no new process or the one to stop
            if self._stopping.is_set():
                return None
            self._process = subprocess.Popen(self.command, env=self.environment)  # noqa: S603  (our own command)
            return self._process


@contextmanager
def supervised_worker(settings: Settings, *, enabled: bool = True) -> Iterator[Supervisor | None]:
    """One worker process beside the block, on the settings' database; none if not ``enabled``."""
    if not enabled:
        yield None
        return
    command = [sys.executable, "-m", "planner.worker", "--parent-pid", str(os.getpid())]
    supervisor = Supervisor(command, os.environ | environment_of(settings))
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()


def environment_of(settings: Settings) -> dict[str, str]:
    """The settings as the environment variables that a child reads them from."""
    given = {
        "data_dir": str(settings.data_dir),
        "database_url": settings.resolved_database_url,
        "lease_seconds": str(settings.lease_seconds),
        "log_level": settings.log_level,
        "log_format": settings.log_format,
        "torch_threads": str(settings.torch_threads),
        "worker_niceness": str(settings.worker_niceness),
        "worker_labels": ",".join(sorted(settings.worker_labels)),
        "job_retention_days": str(settings.job_retention_days),
    }
    if settings.worker_memory_bytes is not None:
        given["worker_memory_bytes"] = str(settings.worker_memory_bytes)
    if settings.model_roots is not None:
        given["model_roots"] = os.pathsep.join(str(root) for root in settings.model_roots)
    return {f"BITPLAN_{name.upper()}": value for name, value in given.items()}
