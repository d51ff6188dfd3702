"""One port for several processes: each listens by itself, and the kernel deals the connections out among them.

Of processes that share one listening socket, whichever looks first takes all connections that wait there: of 50 clients that come
together one process had 27 to 45, and those waited while another process was idle.
"""

import socket
import sys
from typing import Any, final


@final
class DealtPort(socket.socket):
    """A bound socket that another process receives as a socket of its own on the same port."""

    def __reduce__(self) -> tuple[Any, ...]:
        """What pickle sends to a new process: how to make its socket, instead of a copy of this one."""
        return _bound, (self.family, self.getsockname())


def dealt_port(host: str, port: int) -> socket.socket | None:
    """A port that nobody else listens on.

    Args:
        host: name or address, of IPv6 if it has a colon.
        port: its number; 0 for any free one.

    Returns:
        ``None`` where the kernel does not deal connections out: anywhere but on Linux.

    Raises:
        OSError: the port cannot be had, or the address is not one of this machine.
    """
    if not sys.platform.startswith("linux"):
        return None
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as alone:  # a port that is shared could be had beside another service
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alone.bind((host, port))
        address = alone.getsockname()
    return _bound(family, address)


def _bound(family: int, address: tuple[Any, ...]) -> DealtPort:
    opened = DealtPort(family)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    opened.bind(address)
    opened.set_inheritable(True)
    return opened
