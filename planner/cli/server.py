"""The server of a service in one process."""

import os
import threading
from collections.abc import Callable
from socket import socket
from typing import final

import structlog
import uvicorn
from typing_extensions import override

from planner.cli.processes import LEAVE_SECONDS

_log = structlog.get_logger(__name__)


@final
class Server(uvicorn.Server):
    """uvicorn's server, which says when it begins to stop, so that nothing beside it waits for its last answers, and does stop.

    A plan that is being solved cannot be cancelled: the process ends without it after ``LEAVE_SECONDS``.
    """

    def __init__(self, config: uvicorn.Config, *, on_stop: Callable[[], None] | None = None) -> None:
        """Nothing is served yet.

        Args:
            config: of the service.
            on_stop: called when it begins to stop.
        """
        super().__init__(config)
        self._on_stop = on_stop
        self._end = threading.Timer(LEAVE_SECONDS, _end_at_once)
        self._end.daemon = True

    @override
    def run(self, sockets: list[socket] | None = None) -> None:
        """Serve until a signal says stop."""
        try:
            super().run(sockets)
        finally:
            self._end.cancel()

    @override
    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Take no more connections, finish what was begun as long as there is time."""
        self._end.start()
        if self._on_stop is not None:
            self._on_stop()
        await super().shutdown(sockets)
        for connection in self.server_state.connections:  # of clients that did not read in time
            connection.transport.abort()


def _end_at_once() -> None:
    _log.warning("what is being answered does not end; the process ends without it", seconds=LEAVE_SECONDS)
    os._exit(0)
