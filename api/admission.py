"""How much is taken on at once: requests beyond a bound are refused at once, and none is waited for without end."""

import asyncio
from typing import final

import structlog
from anyio import CancelScope
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.request_context import request_id
from api.routes.health import HEALTH_PATHS

MAX_HEADER_BYTES = 16 * 2**10
_STREAM = "text/event-stream"
_LOG = structlog.get_logger("api")


@final
class Admission:
    """ASGI middleware: a bound of the requests under way, of their headers, and of the time until an answer begins.

    Health and metrics are always answered: nobody should take a busy service for a dead one. A stream of events counts until it
    has begun: it may last for hours and costs next to nothing meanwhile, and ``api.job_watch`` has a bound of its own.
    """

    def __init__(self, app: ASGIApp, *, max_requests: int, seconds: float) -> None:
        """Wrap the application.

        Args:
            app: what answers.
            max_requests: requests under way at once, at work and waiting for it.
            seconds: time until an answer has to begin.
        """
        self.app = app
        self._max_requests = max_requests
        self._seconds = seconds
        self._under_way: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on.

        Raises:
            HTTPException: too many requests under way or no answer in time (503), or headers that are too large (431).
        """
        if scope["type"] != "http" or scope["path"] in HEALTH_PATHS:
            await self.app(scope, receive, send)
            return
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
            detail = f"the headers are larger than {MAX_HEADER_BYTES // 2**10} KiB; send less"
            raise HTTPException(431, detail)
        if len(self._under_way) >= self._max_requests:
            detail = "the service has as many requests under way as it takes on at once; try again in a moment"
            raise HTTPException(503, detail, {"retry-after": "1"})
        await self._answer_in_time(scope, receive, send)

    async def _answer_in_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        cancelling = CancelScope()
        late = False

        async def send_in_time(message: Message) -> None:
            if not late:
                if not begun.done():
                    begun.set_result(None)
                    if _begins_stream(message):
                        self._under_way.discard(working)
                await send(message)

        async def work() -> None:
            with cancelling:
                await self.app(scope, receive, send_in_time)

        working = asyncio.create_task(work())
        self._under_way.add(working)
        working.add_done_callback(self._under_way.discard)
        try:
            await asyncio.wait({working, begun}, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            working.cancel()
            raise
        if working.done() or begun.done():
            await working
            return
        late = True
        cancelling.cancel()  # what waits for a thread stops; what runs in one goes on to its end, and counts until then
        working.add_done_callback(lambda ended: _log_late(ended, scope))
        detail = f"no answer within {self._seconds:g} s; send an Idempotency-Key with a POST, so that it can be repeated safely"
        raise HTTPException(503, detail, {"retry-after": "5"})


def _begins_stream(message: Message) -> bool:
    if message["type"] != "http.response.start":
        return False
    return Headers(raw=message["headers"]).get("content-type", "").startswith(_STREAM)


def _log_late(ended: asyncio.Task[None], scope: Scope) -> None:
    error = None if ended.cancelled() else ended.exception()
    _LOG.warning("no answer in time", request_id=request_id(scope), path=scope["path"], error=error and type(error).__name__)
