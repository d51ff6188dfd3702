"""Work of whoever looks on: a few at once, in the order in which they came, and none of it for somebody who has left."""

from collections.abc import Callable
from typing import Final, final

from anyio import CapacityLimiter, Semaphore
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response

AT_ONCE: Final = 2
"""One that takes long keeps a quick one from nothing; more would only share the interpreter."""

_CLIENT_LEFT: Final = 499  # nobody gets it: for the log and the metrics


@final
class Turns:
    """Threads of their own for answers that a page asks for again and again, so that they take none of those that all share.

    A page that has moved on hangs up. What has begun by then runs to its end; what still waits is not begun. For one event loop.
    """

    def __init__(self, at_once: int = AT_ONCE) -> None:
        """Nobody waits yet.

        Args:
            at_once: threads.
        """
        self._turns = Semaphore(at_once)
        self._threads = CapacityLimiter(at_once)

    async def answer(self, request: Request, work: Callable[[], Response]) -> Response:
        """What the work answers, in its turn; without it where the client has left by then.

        Args:
            request: whose body is read.
            work: runs in a thread, and raises what the answer should tell.
        """
        async with self._turns:
            if await request.is_disconnected():
                return Response(status_code=_CLIENT_LEFT)
            return await run_sync(work, limiter=self._threads)
