"""One port of several processes: everyone listens, nobody takes all, and no other service has it too."""

import pickle
import socket
import sys

import pytest

from planner.cli.ports import dealt_port

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="connections are dealt out on Linux alone")


def opened(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    found = dealt_port(host, port)
    assert found is not None
    return found


def accepted(listening: socket.socket) -> int:
    listening.setblocking(False)
    count = 0
    while True:
        try:
            listening.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_every_process_gets_a_socket_of_its_own_and_a_share_of_the_connections() -> None:
    with opened() as parent:
        address = parent.getsockname()
        first, second = (pickle.loads(pickle.dumps(parent)) for _ in range(2))  # noqa: S301  (as multiprocessing sends it)
        with first, second:
            assert {first.getsockname(), second.getsockname()} == {address}
            assert len({parent.fileno(), first.fileno(), second.fileno()}) == 3
            for child in (first, second):
                child.listen(100)
            clients = [socket.create_connection(address) for _ in range(64)]
            counts = accepted(first), accepted(second)
            assert sum(counts) == 64
            assert min(counts) > 8
            for client in clients:
                client.close()


def test_a_port_of_another_service_is_refused_even_if_it_is_dealt_out_too() -> None:
    with opened() as mine, pickle.loads(pickle.dumps(mine)) as child:  # noqa: S301
        child.listen()
        with pytest.raises(OSError, match="in use"):
            opened(port=mine.getsockname()[1])
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(OSError, match="in use"):
        opened(port=other.getsockname()[1])


def test_an_address_of_version_6_is_one() -> None:
    with opened("::1") as found:
        assert found.family == socket.AF_INET6
