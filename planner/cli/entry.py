"""Where the `bitplan` command begins, before the second that its imports take: an interrupt ends it in a word, at any time."""

import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130
"""Exit status of a command that was interrupted, as shells count it: 128 and the number of the signal."""


def main() -> None:
    """Entry point of the console script: run the command; an interrupt prints "interrupted" and no traceback."""
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # and not ignored, as of a command in the background
    if heard:
        signal.signal(signal.SIGINT, _leave)
    from planner.cli.app import main as run

    try:
        if heard:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        say_interrupted()
        sys.exit(INTERRUPTED)


def say_interrupted() -> None:
    """On stderr, whether anybody reads it or not."""
    with suppress(OSError):
        os.write(2, b"interrupted\n")


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Without an exception: what is being imported might take it for its own, or print where it was."""
    say_interrupted()
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
