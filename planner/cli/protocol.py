"""How a connection of the service speaks HTTP: as uvicorn's does, but a request's head has a bound in bytes and in time.

What is behind reads a request once its head is there; until then a client could send headers without end, or keep a connection
with half of one for ever. Bodies are bounded by the application.
"""

import asyncio
from typing import Any, Final, final

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES: Final = 64 * 2**10
"""Of a head that does not arrive at once, or of what follows a body: far more than the application takes, which then says so in
a problem document."""

HEAD_SECONDS: Final = 30.0
"""From a connection, or the first byte of a request, until its head is there."""

_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@final
class BoundedProtocol(HttpToolsProtocol):
    """One connection. A head that comes in one piece, as nearly all do, costs nothing more."""

    _is_in_head = False
    _got_on = False  # a head began or a body went on, in the piece that is being read
    _waited_for = 0  # bytes of the head that came after its first piece
    _late: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: Any) -> None:
        """Wait for the first request, but not for ever."""
        super().connection_made(transport)
        self._wait()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._wait_no_more()
        super().connection_lost(exc)

    @override
    def on_message_begin(self) -> None:
        """A head begins."""
        self._is_in_head = self._got_on = True
        super().on_message_begin()

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; those that follow a body are read by nobody."""
        if self._is_in_head:
            super().on_header(name, value)

    @override
    def on_body(self, body: bytes) -> None:
        """A body goes on."""
        self._got_on = True
        super().on_body(body)

    @override
    def on_headers_complete(self) -> None:
        """A head is there."""
        self._is_in_head = False
        self._wait_no_more()
        super().on_headers_complete()

    @override
    def data_received(self, data: bytes) -> None:
        """Read on; refuse a head without end."""
        self._got_on = False
        super().data_received(data)
        if self._is_in_head or self._is_idle:
            self._wait()
        self._waited_for = 0 if self._got_on else self._waited_for + len(data)
        if self._waited_for > HEAD_BYTES:
            if self._is_idle:
                self.transport.write(_TOO_LARGE)
            self.transport.close()

    @property
    def _is_idle(self) -> bool:
        """No answer is being made."""
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _give_up(self) -> None:
        """Cut it off; while an answer is being made reading may be paused, and the rest of a head cannot come."""
        self._late = None
        if self._is_idle:
            self.transport.abort()
        else:
            self._wait()

    def _wait_no_more(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
