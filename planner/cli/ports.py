"""One port for several processes: their parent accepts all connections and deals them out in turn.

Of processes that share one listening socket, whichever looks first takes all connections that wait there: of 50 clients that come
together one process had 27 to 45, and those waited while another process was idle. The kernel deals connections out by their
addresses (``SO_REUSEPORT``), as evenly as coins fall: of 50 one process had 32 now and then. Here the processes are given one
connection each in turn, through a socket by which a process that listens joins the parent.

What a process was given and has not taken is not lost with it: the parent has the end that a process takes from as well, so what
lies there is taken by one of the two and never by both. The parent takes back what a process has left for ``LATE_SECONDS`` (it is
stopped, or hangs) or left behind (it is gone), and gives it to others; a process that is late gets no more until it takes
something again.
"""

import errno
import fcntl
import os
import selectors
import socket
import sys
import tempfile
import termios
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, final

import structlog

from planner.errors import InvalidRequestError

BACKLOG: Final = 2048
LATE_SECONDS: Final = 0.5
"""A process that is well takes what it is given within milliseconds; one whose thread keeps the interpreter, a little later."""

_LOOK_SECONDS: Final = 0.1
_REST_SECONDS: Final = 0.1
_CONNECTION, _QUESTION = b"c", b"?"
"""A file descriptor travels beside a byte; a question is a byte with nothing beside it, and is answered by being taken."""
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
        given, self._giving = socket.socketpair()
        super().__init__(fileno=given.detach())
        self._joined = socket.socket(socket.AF_UNIX)  # whose end tells the parent that this process is gone
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
        self._joined.connect(self._path)
        socket.send_fds(self._joined, [_CONNECTION], [self._giving.fileno(), self.fileno()])
        self._giving.close()

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection that was dealt to this process, and the client's address.

        Raises:
            BlockingIOError: there is none, and the socket does not block.
            ConnectionAbortedError: the client is gone again, or the parent is, or it only asked whether this process is there.
            OSError: ``EMFILE``, if this process has no descriptor left for it; the client is gone then.
        """
        word, given = _receive(self, 1)
        if word != _CONNECTION:
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

    def close(self) -> None:
        """Take no more: what was not accepted goes to other processes."""
        super().close()
        self._giving.close()
        self._joined.close()


def _receive(there: socket.socket, most: int, flags: int = 0) -> tuple[bytes, list[int]]:
    """A byte and the file descriptors beside it, which no program that is started inherits.

    ``socket.recv_fds`` drops its flags in some versions of Python.
    """
    numbers = array("i")
    word, beside, _, _ = there.recvmsg(1, socket.CMSG_LEN(most * numbers.itemsize), socket.MSG_CMSG_CLOEXEC | flags)
    for level, kind, data in beside:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers.frombytes(data[: len(data) // numbers.itemsize * numbers.itemsize])
    return word, list(numbers)


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
        InvalidRequestError: there is no folder for temporary files, or its path is too long for a socket in it.
    """
    if not sys.platform.startswith("linux"):
        yield None
        return
    with ExitStack() as ends:
        listening = ends.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
        joining = ends.enter_context(socket.socket(socket.AF_UNIX))
        path = ends.enter_context(_bound(joining))
        joining.listen()
        ends.enter_context(_Dealer(listening, joining))
        yield ends.enter_context(DealtPort(path, listening.getsockname()))


@contextmanager
def _bound(joining: socket.socket) -> Iterator[str]:
    """Where others find the socket during the block: in a folder that is this user's alone."""
    with ExitStack() as ends:
        try:
            folder = ends.enter_context(tempfile.TemporaryDirectory(prefix="bitplan-"))
            path = str(Path(folder) / "port")
            joining.bind(path)
        except OSError as error:
            msg = (
                f"several processes need a socket in the folder for temporary files: {error.strerror or error}; "
                "set TMPDIR to a folder with a short path that can be written to"
            )
            raise InvalidRequestError(msg) from error
        yield path


@final
class _Process:
    """A process that listens, as the dealer sees it.

    Attributes:
        is_late: it did not take in time what it was given, and has taken nothing since.
    """

    def __init__(self, giving: socket.socket, taking: socket.socket) -> None:
        """Nothing was given yet.

        Args:
            giving: what is given goes in here.
            taking: what is taken comes out here, for the process and for this one.
        """
        self._giving = giving
        self._taking = taking
        self._given = 0
        self._taken = 0  # of those given, when it was looked at
        self._since = 0.0  # when it was last seen to take something, or was given the first that it has not taken
        self.is_late = False
        giving.setblocking(False)

    @property
    def may_have_left(self) -> bool:
        """Whether there was something that it had not taken when it was looked at, or it was given something since."""
        return self._taken < self._given

    def give(self, connection: socket.socket) -> bool:
        """Whether there was room for it. The caller's own descriptor stays the caller's."""
        try:
            socket.send_fds(self._giving, [_CONNECTION], [connection.fileno()])
        except OSError:  # it is gone, which its socket tells in a moment, or has left hundreds
            return False
        self._note_given()
        return True

    def look(self, now: float) -> None:
        """See whether it takes what it is given."""
        taken = self._given - self._left()
        if taken > self._taken or taken == self._given:
            self._taken, self._since, self.is_late = taken, now, False
        elif now - self._since >= LATE_SECONDS:
            self.is_late = True

    def take_back(self) -> list[socket.socket]:
        """The connections that it has not taken, and will not take now."""
        found: list[socket.socket] = []
        while self._left():
            try:
                _, numbers = _receive(self._taking, 1, socket.MSG_DONTWAIT)
            except BlockingIOError:  # it has taken the last
                break
            found += [socket.socket(fileno=number) for number in numbers]
        self._taken = self._given
        return found

    def ask(self) -> None:
        """Leave a question in the place of connections, which is taken once it takes anything."""
        try:
            self._giving.send(_QUESTION)
        except OSError:  # the next connection is one
            self.is_late = False
        else:
            self._note_given()

    def close(self) -> None:
        """Give nothing any more."""
        self._giving.close()
        self._taking.close()

    def _note_given(self) -> None:
        if not self.may_have_left:
            self._since = time.monotonic()
        self._given += 1

    def _left(self) -> int:
        return int.from_bytes(fcntl.ioctl(self._taking, termios.FIONREAD, bytes(4)), sys.byteorder)


@final
class _Dealer:
    """A thread that accepts connections and hands each to the next process in turn."""

    def __init__(self, listening: socket.socket, joining: socket.socket) -> None:
        self._listening = listening
        self._joining = joining
        self._joined: dict[socket.socket, _Process | None] = {}  # processes, once they said what they take from
        self._turn: deque[_Process] = deque()
        self._undealt: deque[socket.socket] = deque()
        self._look_at = 0.0
        self._watched = selectors.DefaultSelector()
        self._stop, self._stopping = socket.socketpair()
        self._thread = threading.Thread(target=self._deal_all, name="bitplan-dealer", daemon=True)

    def __enter__(self) -> None:
        for one in (self._listening, self._joining):
            one.setblocking(False)
        self._watched.register(self._joining, selectors.EVENT_READ, self._join)
        self._watched.register(self._stopping, selectors.EVENT_READ)
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._stop.close()
        self._thread.join()
        for process in self._turn:
            process.close()
        for one in (self._stopping, *self._joined, *self._undealt):
            one.close()
        self._watched.close()

    def _deal_all(self) -> None:
        while True:
            left = bool(self._undealt) or any(process.may_have_left for process in self._turn)
            for key, _ in self._watched.select(_LOOK_SECONDS if left else None):
                if key.fileobj is self._stopping:
                    return
                if key.data is None:
                    self._hear(key.fileobj)
                else:
                    self._accept(key.data)
            if left:
                self._look()
            self._deal_undealt()

    def _accept(self, accept: Callable[[], None]) -> None:
        try:
            accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            pass
        except OSError as error:  # mostly too many open files: clients wait in the kernel meanwhile
            _log.warning("cannot accept", error=str(error))
            time.sleep(_REST_SECONDS)

    def _join(self) -> None:
        joined, _ = self._joining.accept()
        joined.setblocking(False)
        self._joined[joined] = None
        self._watched.register(joined, selectors.EVENT_READ)

    def _hear(self, joined: Any) -> None:
        """A process listens, or listens no more: it says nothing but this."""
        process = self._joined[joined]
        if process is None and (ends := _received(joined)):
            self._joined[joined] = process = _Process(*ends)
            self._turn.append(process)
            return
        self._watched.unregister(joined)
        del self._joined[joined]
        joined.close()
        if process is not None:
            self._turn.remove(process)
            self._undealt.extend(process.take_back())
            process.close()

    def _look(self) -> None:
        """See who takes what was dealt to it, now and then, and take it back from whoever does not."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        for process in self._turn:
            was_late = process.is_late
            process.look(now)
            if process.is_late and not was_late:
                self._undealt.extend(process.take_back())
                process.ask()
                _log.warning("a process does not take its connections; others get them", seconds=LATE_SECONDS)

    def _deal(self) -> None:
        connection, _ = self._listening.accept()
        self._undealt.append(connection)
        self._deal_undealt()

    def _deal_undealt(self) -> None:
        """As far as there is a process that takes them; until then clients wait in the kernel."""
        while self._undealt and self._gave(self._undealt[0]):
            self._undealt.popleft().close()
        watched = self._listening in self._watched.get_map()
        wanted = not self._undealt and any(not process.is_late for process in self._turn)
        if wanted and not watched:
            self._watched.register(self._listening, selectors.EVENT_READ, self._deal)
        elif watched and not wanted:
            self._watched.unregister(self._listening)

    def _gave(self, connection: socket.socket) -> bool:
        """Whether a process was given it: the next in turn that is not late."""
        for _ in range(len(self._turn)):
            self._turn.rotate(-1)
            if not self._turn[-1].is_late and self._turn[-1].give(connection):
                return True
        return False


def _received(joined: socket.socket) -> list[socket.socket]:
    """The two sockets that ``DealtPort.listen`` sends; none if the process is gone, or there are no descriptors left here."""
    try:
        _, numbers = _receive(joined, 2)
    except OSError:
        return []
    found = [socket.socket(fileno=number) for number in numbers]
    if len(found) == 2:
        return found
    for one in found:
        one.close()
    return []
