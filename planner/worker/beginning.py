"""The first seconds of a worker, while it imports: a signal ends it at once, with a line instead of a traceback."""

import os
import signal
from contextlib import suppress
from types import FrameType


def leave_on_signals() -> None:
    """End the process on SIGINT or SIGTERM, until something else is done on them. It has nothing to give back yet.

    Call from the main thread.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    """Of the signal, and without an exception: what is being imported might take it for its own, or print where it was."""
    with suppress(OSError):  # nobody need read it
        os.write(2, b"bitplan worker: stopped before it began\n")  # logs are not set up yet, and a buffer may be in use
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
