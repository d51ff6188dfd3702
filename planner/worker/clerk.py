"""Who deals with the database for a worker that gives way to people: a thread of the process's own priority.

A step is computed at a low priority, so that requests of the service beside it come first. A transaction must not be: whoever is
held up in the middle of one keeps SQLite's only writer, or a job's row, from all others. On Linux a niceness is a thread's own,
and threads have that of the thread that starts them.
"""

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, TypeVar, final

Found = TypeVar("Found")


@final
class Clerk:
    """Calls functions in a thread of the priority that this process had when the clerk was made."""

    def __init__(self) -> None:
        """Start the thread, which ends with the process."""
        self._asked: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="bitplan-clerk", daemon=True).start()

    def call(self, function: Callable[[], Found]) -> Found:
        """Call a function in the clerk's thread, in the caller's context, and wait for it; raises what it raises."""
        future: Future[Found] = Future()
        context = copy_context()
        self._asked.put((future, lambda: context.run(function)))
        return future.result()

    def _serve(self) -> None:
        while True:
            future, function = self._asked.get()
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001  (it is the caller's, who waits for it)
                future.set_exception(error)


def call_here(function: Callable[[], Found]) -> Found:
    """Call a function, where nobody needs a clerk."""
    return function()


def give_way(niceness: int) -> None:
    """Let this thread, and those that it starts from now on, have the less of a busy processor.

    Args:
        niceness: 0 changes nothing; with 10 a thread gets a ninth of what one of a usual priority gets, with 19 a seventieth.
    """
    if niceness:
        os.nice(niceness)
