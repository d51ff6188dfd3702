"""A child that does not outlive its parent."""

import os
import signal
import threading
import time

import structlog

_log = structlog.get_logger(__name__)


def follow_parent(parent_pid: int, *, poll_seconds: float = 1.0) -> None:
    """Send this process SIGTERM once its parent is no longer ``parent_pid``.

    The parent passes its own id: asking for it here would be too late if it has died meanwhile. The process stops as it does on
    any SIGTERM; if it takes longer than a service manager's patience, the end of its lease hands its step on.
    """
    threading.Thread(target=_watch, args=(parent_pid, poll_seconds), name="bitplan-parent", daemon=True).start()


def _watch(parent_pid: int, poll_seconds: float) -> None:
    while os.getppid() == parent_pid:
        time.sleep(poll_seconds)
    _log.warning("parent is gone; stopping", parent=parent_pid)
    os.kill(os.getpid(), signal.SIGTERM)
