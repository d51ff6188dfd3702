"""The first seconds of a worker, while it imports: a signal ends it at once, in a line instead of a traceback."""

import os
import signal
import sys
from types import FrameType


def leave_on_signals() -> None:
    """End the process on SIGINT or SIGTERM, until something else is done on them. It has nothing to give back yet.

    Call from the main thread.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    """Without an exception: whatever is being imported might take it for its own, or print where it was."""
    print("bitplan worker: stopped before it began", file=sys.stderr, flush=True)  # noqa: T201  (logs are not set up yet)
    os._exit(128 + number)
