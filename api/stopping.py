"""What is done when the process is told to stop, before the server waits for open answers."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def on_stop(act: Callable[[], object]) -> Iterator[None]:
    """Act at the first signal that says stop, then do what was done at it before.

    A server begins its lifespan's shutdown only after the last answer has ended, and a stream ends for nobody else. Outside of
    the main thread, which alone gets signals, nothing is changed.

    Args:
        act: returns at once; it interrupts whatever the main thread is doing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.getsignal(number) for number in _SIGNALS}

    def stop(number: int, frame: FrameType | None) -> None:
        act()
        before = former[signal.Signals(number)]
        if callable(before):
            before(number, frame)

    for number in _SIGNALS:
        if callable(former[number]):
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in former.items():
            if signal.getsignal(number) is stop:
                signal.signal(number, handler)
