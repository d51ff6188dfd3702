"""One port of several processes: connections are dealt out in turn to those that listen, and no other service has it too."""

import errno
import os
import pickle
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from planner.cli import ports
from planner.cli.ports import DealtPort, dealt_port
from planner.errors import InvalidRequestError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="connections are dealt out on Linux alone")

CLIENTS = 50
PATIENCE_SECONDS = 30


@contextmanager
def opened(host: str = "127.0.0.1", port: int = 0) -> Iterator[DealtPort]:
    with dealt_port(host, port) as found:
        assert found is not None
        yield found


def share(parent: DealtPort) -> DealtPort:
    """What another process gets, listening."""
    found: DealtPort = pickle.loads(pickle.dumps(parent))  # noqa: S301  (as multiprocessing sends it)
    try:
        found.listen(100)
    except OSError:
        found.close()
        raise
    found.settimeout(PATIENCE_SECONDS)
    return found


def taken(process: DealtPort) -> tuple[socket.socket, tuple[str, int]]:
    """The next connection; that the parent asks whether the process is there is no news."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        with suppress(ConnectionAbortedError):
            return process.accept()
    raise TimeoutError


def echo(process: DealtPort) -> None:
    """Answer one client."""
    connection, address = taken(process)
    with connection:
        assert address == connection.getpeername()
        connection.sendall(connection.recv(10))


def accepted(*processes: DealtPort) -> list[int]:
    """How many connections each has, once all have come."""
    counts, end = [0] * len(processes), time.monotonic() + PATIENCE_SECONDS
    for process in processes:
        process.setblocking(False)
    while sum(counts) < CLIENTS and time.monotonic() < end:
        for number, process in enumerate(processes):
            try:
                process.accept()[0].close()
            except BlockingIOError:
                time.sleep(0.001)
            else:
                counts[number] += 1
    return counts


def test_connections_are_dealt_out_evenly_to_those_that_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "LATE_SECONDS", PATIENCE_SECONDS)  # however slow the machine, nobody is late here
    with opened() as parent:
        address = parent.getsockname()
        early = socket.create_connection(address)  # waits until somebody listens
        with share(parent) as first, share(parent) as second:
            assert first.getsockname() == second.getsockname() == address
            clients = [early, *(socket.create_connection(address) for _ in range(CLIENTS - 1))]
            counts = accepted(first, second)
            assert sum(counts) == CLIENTS
            assert abs(counts[0] - counts[1]) <= 4  # the early one, two that may come before the second has joined, and the turn
            for client in clients:
                client.close()


def test_a_process_that_is_gone_gets_nothing_and_a_new_one_takes_part() -> None:
    with opened() as parent:
        first = share(parent)
        with share(parent) as second:
            first.close()
            for _ in range(4):
                with socket.create_connection(parent.getsockname()) as client:
                    client.sendall(b"hello")
                    echo(second)
                    assert client.recv(10) == b"hello"
        with socket.create_connection(parent.getsockname()) as client, share(parent) as third:  # while nobody listens it waits
            client.sendall(b"again")
            echo(third)
            assert client.recv(10) == b"again"


def test_what_a_process_left_behind_goes_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "LATE_SECONDS", PATIENCE_SECONDS)
    with opened() as parent, share(parent) as second:
        first = share(parent)
        clients = [socket.create_connection(parent.getsockname()) for _ in range(6)]
        first.settimeout(PATIENCE_SECONDS)
        taken(first)[0].close()  # so it was given some, of which it leaves the others
        first.close()
        for _ in clients[1:]:
            taken(second)[0].close()
        for client in clients:
            client.close()


def test_a_process_that_does_not_take_its_connections_gets_none_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "LATE_SECONDS", 0.2)
    with opened() as parent, share(parent) as stopped, share(parent) as other:
        clients = [socket.create_connection(parent.getsockname()) for _ in range(6)]
        for _ in clients:
            taken(other)[0].close()
        stopped.setblocking(False)
        with pytest.raises(ConnectionAbortedError):  # the parent asks; what it had dealt here is elsewhere
            stopped.accept()
        with pytest.raises(BlockingIOError):
            stopped.accept()
        stopped.settimeout(0.2)
        monkeypatch.setattr(ports, "LATE_SECONDS", PATIENCE_SECONDS)
        end = time.monotonic() + PATIENCE_SECONDS
        while True:  # it took the question, which the parent sees in a moment
            clients.append(socket.create_connection(parent.getsockname()))
            try:
                stopped.accept()[0].close()
            except TimeoutError:
                assert time.monotonic() < end
            else:
                break
        for client in clients:
            client.close()


def test_clients_wait_in_the_kernel_while_every_process_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "LATE_SECONDS", 0.1)
    with opened() as parent, share(parent) as process:
        clients = [socket.create_connection(parent.getsockname()) for _ in range(4)]
        time.sleep(0.5)
        clients += [socket.create_connection(parent.getsockname()) for _ in range(4)]
        for _ in clients:
            taken(process)[0].close()
        for client in clients:
            client.close()


def test_a_client_that_is_gone_again_and_a_parent_that_is_gone_end_no_process() -> None:
    with opened() as parent:
        process = share(parent)
    with process, pytest.raises(ConnectionAbortedError):
        process.accept()
    with pytest.raises(OSError, match="No such file"):
        share(parent)


def test_a_process_without_descriptors_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel drops the connection then; an event loop that hears EMFILE rests before it accepts again."""
    with opened() as parent, share(parent) as process:
        monkeypatch.setattr(ports, "_receive", lambda *_: (b"c", []))
        with pytest.raises(OSError, match="Too many open files") as error:
            process.accept()
    assert error.value.errno == errno.EMFILE


def test_a_port_of_another_service_is_refused_even_if_it_is_dealt_out_too() -> None:
    with opened() as mine, share(mine), pytest.raises(OSError, match="in use"), opened(port=mine.getsockname()[1]):
        pass
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(OSError, match="in use"), opened(port=taken):
            pass


def test_an_address_of_version_6_is_one() -> None:
    with opened("::1") as found, share(found) as process, socket.create_connection(found.getsockname()[:2]) as client:
        client.sendall(b"six")
        echo(process)
        assert client.recv(10) == b"six"


def test_no_program_that_is_started_inherits_a_connection_and_nothing_is_waited_for() -> None:
    given, taken = socket.socketpair()
    with given, taken:
        socket.send_fds(given, [b"c"], [given.fileno(), taken.fileno()])
        word, numbers = ports._receive(taken, 2)
        assert (word, [os.get_inheritable(number) for number in numbers]) == (b"c", [False, False])
        for number in numbers:
            os.close(number)
        with pytest.raises(BlockingIOError):
            ports._receive(taken, 1, socket.MSG_DONTWAIT)


@pytest.mark.parametrize("name", ["missing", "x" * 120])
def test_a_folder_for_temporary_files_that_cannot_be_used_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name
    if name != "missing":
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(InvalidRequestError, match="set TMPDIR"), opened():
        pass
