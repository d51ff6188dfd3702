"""Threads that speak for a worker while it computes: one holds the lease of its step, one says that the worker is there."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from planner.errors import StorageError
from planner.jobs.engine import AbstractJobEngine, Lease, WorkerProfile
from planner.worker.clerk import call_here

Call = Callable[[Callable[[], None]], None]
"""Calls a function in a thread of the priority that it, and a thread that it starts, are to have."""

_BEATS_PER_LEASE = 6
_log = structlog.get_logger(__name__)


@contextmanager
def heartbeat(engine: AbstractJobEngine, lease: Lease, *, call: Call = call_here) -> Iterator[None]:
    """Extend the lease six times per lease time until the block ends.

    A beat that the database refuses is tried again at the next: five may be missed. A lost lease is only logged; the engine
    will not record the result.
    """
    ended = threading.Event()
    thread = threading.Thread(target=_beat, args=(engine, lease, ended), name="bitplan-heartbeat", daemon=True)
    call(thread.start)
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def present(
    engine: AbstractJobEngine, worker: WorkerProfile, draining: Callable[[], bool], *, call: Call = call_here
) -> Iterator[None]:
    """Tell that the worker is there, six times per lease time until the block ends, and then that it goes.

    Nothing hangs on it but what people see: a database that is away is only logged.
    """
    ended = threading.Event()

    def tell() -> None:
        while True:
            _try(lambda: engine.beat(worker, draining=draining()), worker)
            if ended.wait(engine.lease_seconds / _BEATS_PER_LEASE):
                return

    thread = threading.Thread(target=tell, name="bitplan-presence", daemon=True)
    call(thread.start)
    try:
        yield
    finally:
        ended.set()
        thread.join()
        call(lambda: _try(lambda: engine.leave(worker), worker))


def _try(what: Callable[[], None], worker: WorkerProfile) -> None:
    try:
        what()
    except StorageError as error:
        _log.warning("presence not told", worker=worker.id, error=str(error))


def _beat(engine: AbstractJobEngine, lease: Lease, ended: threading.Event) -> None:
    while not ended.wait(engine.lease_seconds / _BEATS_PER_LEASE):
        try:
            if not engine.extend(lease):
                _log.warning("lease lost", job=lease.job.id, unit=lease.unit and lease.unit.key)
                return
        except StorageError as error:
            _log.warning("heartbeat failed", job=lease.job.id, error=str(error))
