"""One port for several processes: their parent accepts all connections and deals them out in turn.

Of processes that share one listening socket, whichever looks first takes all connections that wait there: of 50 clients that come
together one process had 27 to 45, and those waited while another process was idle. The kernel deals connections out by their
addresses (``SO_REUSEPORT``), as evenly as coins fall: of 50 one process had 32 now and then. Here the processes are given one
connection each in turn, through a socket by which a process that listens joins the parent.
"""

import errno
import os
import selectors
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, final

import structlog

BACKLOG: Final = 2048
_REST_SECONDS: Final = 0.1
_WORD = b"c"
"""A file descriptor travels beside at least one byte."""
_log = structlog.get_logger(__name__)


@final
class DealtPort(socket.socket):
    """A port as a process has it: whoever listens joins the parent, and accepts what is dealt to it.

    Pickled, as ``multiprocessing`` does, it is another process's share of the same port.
    """

    def __init__(self, path: str, address: tuple[Any, ...]) -> None:
        """Not joined yet.

        Args:
            path: of the parent's socket.
            address: that clients connect to.
        """
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path = path
        self._address = address

    def __reduce__(self) -> tuple[Any, ...]:
        """What pickle sends to a new process: how to make its share, instead of a copy of this one."""
        return DealtPort, (self._path, self._address)

    def getsockname(self) -> tuple[Any, ...]:
        """The address of the port."""
        return self._address

    def listen(self, _backlog: int = BACKLOG, /) -> None:
        """Join the parent; raises ``OSError`` if it is gone."""
        self.connect(self._path)

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection that was dealt to this process, and the client's address.

        Raises:
            BlockingIOError: there is none, and the socket does not block.
            ConnectionAbortedError: the client is gone again, or the parent is.
            OSError: ``EMFILE``, if this process has no descriptor left for it; the client is gone then.
        """
        word, given, _, _ = socket.recv_fds(self, len(_WORD), 1, socket.MSG_CMSG_CLOEXEC)
        if not word:
            raise ConnectionAbortedError
        if not given:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        (number,) = given
        connection = socket.socket(fileno=number)
        try:
            return connection, connection.getpeername()
        except OSError as error:
            connection.close()
            raise ConnectionAbortedError from error


@contextmanager
def dealt_port(host: str, port: int) -> Iterator[DealtPort | None]:
    """A port that nobody else listens on, dealt out during the block.

    Args:
        host: name or address, of IPv6 if it has a colon.
        port: its number; 0 for any free one.

    Yields:
        ``None`` where connections cannot be handed to another process like this: anywhere but on Linux.

    Raises:
        OSError: the port cannot be had, or the address is not one of this machine.
    """
    if not sys.platform.startswith("linux"):
        yield None
        return
    with ExitStack() as ends:
        listening = ends.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="bitplan-")))  # which is this user's alone
        joining = ends.enter_context(socket.socket(socket.AF_UNIX))
        joining.bind(str(folder / "port"))
        joining.listen()
        ends.enter_context(_Dealer(listening, joining))
        yield ends.enter_context(DealtPort(str(folder / "port"), listening.getsockname()))


@final
class _Dealer:
    """A thread that accepts connections and hands each to the next process in turn."""

    def __init__(self, listening: socket.socket, joining: socket.socket) -> None:
        self._listening = listening
        self._joining = joining
        self._processes: deque[socket.socket] = deque()
        self._looked_at = selectors.DefaultSelector()
        self._stop, self._stopping = socket.socketpair()
        self._thread = threading.Thread(target=self._deal_all, name="bitplan-dealer", daemon=True)

    def __enter__(self) -> None:
        for one in (self._listening, self._joining):
            one.setblocking(False)
        self._looked_at.register(self._joining, selectors.EVENT_READ, self._join)
        self._looked_at.register(self._stopping, selectors.EVENT_READ)
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._stop.close()
        self._thread.join()
        for one in (self._stopping, *self._processes):
            one.close()
        self._looked_at.close()

    def _deal_all(self) -> None:
        while True:
            for key, _ in self._looked_at.select():
                if key.fileobj is self._stopping:
                    return
                if key.data is None:
                    self._leave(key.fileobj)
                else:
                    self._accept(key.data)

    def _accept(self, accept: Callable[[], None]) -> None:
        try:
            accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            pass
        except OSError as error:  # mostly too many open files: clients wait in the kernel meanwhile
            _log.warning("cannot accept", error=str(error))
            time.sleep(_REST_SECONDS)

    def _join(self) -> None:
        """A process listens. While none does, connections wait in the kernel."""
        process, _ = self._joining.accept()
        process.setblocking(False)
        self._processes.append(process)
        self._looked_at.register(process, selectors.EVENT_READ)
        if len(self._processes) == 1:
            self._looked_at.register(self._listening, selectors.EVENT_READ, self._deal)

    def _leave(self, process: Any) -> None:
        """A process listens no more: it says nothing but this."""
        self._looked_at.unregister(process)
        self._processes.remove(process)
        process.close()
        if not self._processes:
            self._looked_at.unregister(self._listening)

    def _deal(self) -> None:
        """One connection to the next process that takes it; if none can, the client is told so by the end of its connection."""
        connection, _ = self._listening.accept()
        with connection:
            for _ in range(len(self._processes)):
                self._processes.rotate(-1)
                with suppress(OSError):  # it is gone, which its socket tells in a moment, or does not keep up
                    socket.send_fds(self._processes[-1], [_WORD], [connection.fileno()])
                    return
