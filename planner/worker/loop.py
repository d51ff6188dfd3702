"""The loop of a worker: claim a step, do it while the lease is held, record it.

Error policy. This project's own errors are facts about the input: the job fails at once with the message. Anything else that a
handler raises is tried again by the rules of the engine, then fails the unit. A lost lease means: what was computed is dropped.
A database that cannot be reached, or does not take what it is told, is waited for; a result is kept meanwhile and offered again
for two lease times, then the step is given back, and that counts as no attempt.
"""

import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from itertools import count
from types import FrameType

import numpy as np
import structlog
from numpy.typing import NDArray
from structlog.contextvars import bound_contextvars

from planner.errors import PlannerError, StorageError
from planner.jobs.engine import AbstractJobEngine, Lease, Step, WorkerProfile
from planner.jobs.errors import LeaseLostError
from planner.jobs.handler import AbstractJobHandler
from planner.worker.clerk import Clerk, call_here
from planner.worker.heartbeat import heartbeat, present
from sensitivity.errors import SensitivityError

_MAX_WAIT_SECONDS = 10.0
_REASON_LENGTH = 2_000
_UPKEEP_SECONDS = 3_600.0
_HOST_LENGTH = 80
_OURS = (PlannerError, SensitivityError)
_log = structlog.get_logger(__name__)


class _StoppedError(BaseException):
    """Raised by the second signal, or when the grace is over, inside the step that is running: give it back."""


def new_worker_id() -> str:
    """A name for this process that no other has: host, process id, and a random part."""
    return f"{socket.gethostname()[:_HOST_LENGTH]}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


class Worker:
    """Runs steps of jobs, one at a time, until it is stopped."""

    def __init__(
        self,
        engine: AbstractJobEngine,
        handlers: Mapping[str, AbstractJobHandler],
        *,
        labels: Collection[str] = (),
        memory_bytes: int | None = None,
        retention: timedelta | None = None,
        poll_seconds: float = 0.5,
        grace_seconds: float = 30.0,
        clerk: Clerk | None = None,
    ) -> None:
        """A worker that has not begun.

        Args:
            engine: where steps come from and results go.
            handlers: what is done for each kind of job; jobs of other kinds are left to other workers.
            labels: what jobs may ask for of a worker.
            memory_bytes: jobs that are forecast to need more are left to other workers; ``None`` takes any.
            retention: how long the units of jobs that have ended are kept; ``None`` keeps them for good.
            poll_seconds: pause after nothing was found to do.
            grace_seconds: after a signal, a step that has not ended by then is given back.
            clerk: who asks and tells the engine, for a worker that computes at a low priority; by default the worker itself.
        """
        self.engine = engine
        self.handlers = dict(handlers)
        self.profile = WorkerProfile(
            id=new_worker_id(),
            kinds=sorted(self.handlers),
            labels=frozenset(labels),
            memory_bytes=memory_bytes,
            host=socket.gethostname(),
            pid=os.getpid(),
        )
        self.retention = retention
        self.poll_seconds = poll_seconds
        self.grace_seconds = grace_seconds
        self._call = call_here if clerk is None else clerk.call
        self._stop = threading.Event()
        self._computing = False
        self._next_upkeep = time.monotonic()

    @property
    def worker_id(self) -> str:
        """Name of this worker, shown beside what it works on."""
        return self.profile.id

    def run(self, *, until_idle: bool = False) -> None:
        """Work until ``stop`` is called, or, with ``until_idle``, until no job of our kinds is queued or running."""
        _log.info("worker started", worker=self.worker_id, kinds=self.profile.kinds, labels=sorted(self.profile.labels))
        with present(self.engine, self.profile, self._stop.is_set, call=self._call):
            self._work_until(idle=until_idle)
        _log.info("worker stopped", worker=self.worker_id)

    def _work_until(self, *, idle: bool) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                if time.monotonic() >= self._next_upkeep + _UPKEEP_SECONDS:  # there was always something else to do
                    self._keep_up()
                lease = self._call(partial(self.engine.claim, self.profile))
                if lease is None:
                    if idle and not self._call(partial(self.engine.has_work, self.profile)):
                        return
                    self._keep_up()
            except StorageError as error:
                failures += 1
                _log.warning("no database", worker=self.worker_id, error=str(error))
                self._stop.wait(_backoff(failures))
                continue
            failures = 0
            if lease is None:
                self._stop.wait(self.poll_seconds)
            else:
                self._work(lease)

    def _keep_up(self) -> None:
        """Once an hour, mostly while there is nothing else to do: forget what nobody needs any more."""
        if self.retention is None or time.monotonic() < self._next_upkeep:
            return
        self._next_upkeep = time.monotonic() + _UPKEEP_SECONDS
        gone = self._call(partial(self.engine.purge, older_than=self.retention))
        if gone:
            _log.info("units of old jobs forgotten", worker=self.worker_id, units=gone)

    def stop(self) -> None:
        """Begin no further step; callable from any thread."""
        self._stop.set()

    def stop_on_signals(self) -> None:
        """On SIGTERM or SIGINT finish the running step and return from ``run``.

        A second signal, or the end of the grace, gives the step back at once for another worker. Call from the main thread.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGALRM, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if not self._stop.is_set():
            self._stop.set()
            signal.setitimer(signal.ITIMER_REAL, max(self.grace_seconds, 0.001))
        elif self._computing:
            self._computing = False
            raise _StoppedError(signal.Signals(number).name)

    def _work(self, lease: Lease) -> None:
        """One step, whatever comes of it."""
        unit = lease.unit and lease.unit.key
        context = {"worker": self.worker_id, "job": lease.job.id, "step": str(lease.step), "unit": unit}
        log = _log.bind(**context)
        try:
            with bound_contextvars(**context):  # for whatever the step logs
                self._do(lease)
            log.debug("step done")
        except LeaseLostError as error:
            log.warning("result dropped", reason=str(error))
        except _StoppedError as stopped:
            log.info("step given back", reason=str(stopped))
            self._settle(partial(self.engine.release, lease))
        except StorageError as error:  # the database's fault, not the step's: it counts as no attempt, however long it lasts
            log.warning("step given back", reason=str(error))
            self._settle(partial(self.engine.release, lease))
            self._stop.wait(self.poll_seconds)
        except Exception as error:  # a worker outlives any handler: this is the one place that must
            reason, permanent = _verdict(error)
            log.warning("step failed", reason=reason, permanent=permanent, exc_info=not isinstance(error, _OURS))
            self._settle(partial(self.engine.fail, lease, reason, permanent=permanent))

    def _do(self, lease: Lease) -> None:
        handler = self.handlers[lease.job.kind]
        if lease.step is Step.FINISH:  # the engine's lock on the job holds the lease
            self._call(partial(self.engine.finish, lease, handler.finish))
            return
        with heartbeat(self.engine, lease, call=self._call):
            if lease.unit is None:
                with self._interruptible():
                    units = handler.enumerate(lease.job)
                self._tell(partial(self.engine.record_units, lease, units))
                return
            start = time.perf_counter()
            with self._interruptible():
                result: NDArray[np.float64] = handler.run(lease.job, lease.unit)
            seconds = time.perf_counter() - start
            self._tell(partial(self.engine.record_result, lease, result, seconds=seconds))

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Where a signal may break in: while a handler computes, never inside a transaction."""
        self._computing = True
        try:
            yield
        finally:
            self._computing = False

    def _settle(self, what: Callable[[], None]) -> None:
        """Tell the engine what became of a step; if it cannot be told, the end of the lease tells."""
        try:
            self._tell(what)
        except (LeaseLostError, StorageError) as error:
            _log.warning("not told", worker=self.worker_id, reason=str(error))

    def _tell(self, what: Callable[[], None]) -> None:
        """Tell the engine, and again while the database is away, for two lease times at most; once if we are stopping.

        A commit whose answer was lost is told twice; the second is refused, because its lease has ended: nothing doubles.
        """
        deadline = time.monotonic() + 2 * self.engine.lease_seconds
        for failures in count(1):
            try:
                self._call(what)
            except StorageError as error:
                wait = _backoff(failures)
                if self._stop.is_set() or time.monotonic() + wait > deadline:
                    raise
                _log.warning("no database; trying again", worker=self.worker_id, error=str(error))
                self._stop.wait(wait)
            else:
                return


def _verdict(error: Exception) -> tuple[str, bool]:
    """The reason to store, and whether trying again cannot help."""
    said = str(error)[:_REASON_LENGTH]
    if isinstance(error, _OURS):
        return said, True
    return f"{type(error).__name__}: {said}" if said else type(error).__name__, False


def _backoff(failures: int) -> float:
    return min(0.25 * 2.0 ** (failures - 1), _MAX_WAIT_SECONDS)
