"""The server of a service in one process."""

from collections.abc import Callable
from socket import socket
from typing import final

import uvicorn
from typing_extensions import override


@final
class Server(uvicorn.Server):
    """uvicorn's server, which says when it begins to stop: what stops beside it need not wait for its last answers."""

    def __init__(self, config: uvicorn.Config, *, on_stop: Callable[[], None] | None = None) -> None:
        """Nothing is served yet.

        Args:
            config: of the service.
            on_stop: called when it begins to stop.
        """
        super().__init__(config)
        self._on_stop = on_stop

    @override
    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Take no more connections, finish what was begun as long as there is time."""
        if self._on_stop is not None:
            self._on_stop()
        await super().shutdown(sockets)
        for connection in self.server_state.connections:  # of clients that did not read in time
            connection.transport.abort()
