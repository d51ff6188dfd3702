"""A thread that holds a lease while the worker computes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from planner.errors import StorageError
from planner.jobs.engine import AbstractJobEngine, Lease

_BEATS_PER_LEASE = 6
_log = structlog.get_logger(__name__)


@contextmanager
def heartbeat(engine: AbstractJobEngine, lease: Lease) -> Iterator[None]:
    """Extend the lease six times per lease time until the block ends.

    A beat that the database refuses is tried again at the next: five may be missed. A lost lease is only logged; the engine
    will not record the result.
    """
    ended = threading.Event()
    thread = threading.Thread(target=_beat, args=(engine, lease, ended), name="bitplan-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _beat(engine: AbstractJobEngine, lease: Lease, ended: threading.Event) -> None:
    while not ended.wait(engine.lease_seconds / _BEATS_PER_LEASE):
        try:
            if not engine.extend(lease):
                _log.warning("lease lost", job=lease.job.id, unit=lease.unit and lease.unit.key)
                return
        except StorageError as error:
            _log.warning("heartbeat failed", job=lease.job.id, error=str(error))
