"""A client that sends half a request is not waited for without end, and no head takes memory without end."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import uvicorn

from planner.cli import protocol
from planner.cli.protocol import HEAD_BYTES, BoundedProtocol
from planner.cli.server import Server

PATIENCE_SECONDS = 30.0


async def answer(scope: Any, receive: Any, send: Any) -> None:
    message = {"more_body": True}
    while message.get("more_body"):
        message = await receive()
    if scope["path"] == "/slow":
        await asyncio.sleep(0.3)
    said = f"{len(scope['headers'])}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(said)).encode())]})
    await send({"type": "http.response.body", "body": said})


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    config = uvicorn.Config(answer, http=BoundedProtocol, log_config=None, access_log=False, lifespan="off")
    server = Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield listening.getsockname()
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)


def said(client: socket.socket) -> bytes:
    """Everything until the connection is closed or cut."""
    found = b""
    with suppress(ConnectionResetError):
        while part := client.recv(2**16):
            found += part
    return found


def test_a_head_without_end_is_refused(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=PATIENCE_SECONDS) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nlong: ")
        sent = 0
        with suppress(BrokenPipeError, ConnectionResetError):
            while sent < 2**26:
                client.sendall(b"x" * 2**14)
                sent += 2**14
        assert HEAD_BYTES < sent < 2**26


@pytest.mark.parametrize("begun", [b"", b"\r\n", b"GET / HTTP/1.1\r\nhost: x\r\n", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n\r\nGET /"])
def test_half_a_request_is_not_waited_for(address: tuple[str, int], begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)
    with socket.create_connection(address, timeout=PATIENCE_SECONDS) as client:
        client.sendall(begun)
        assert said(client).endswith(b"\r\n\r\n1") is begun.endswith(b"GET /")


def test_what_comes_slowly_but_in_time_is_answered(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=PATIENCE_SECONDS) as client:
        for part in (b"\r\nPOST / HT", b"TP/1.1\r\nhost: x\r\n", b"content-length: 4\r\nconn", b"ection: close\r\n\r\nab", b"cd"):
            client.sendall(part)
            time.sleep(0.02)
        assert said(client).endswith(b"\r\n\r\n3")


def test_a_large_body_is_no_head(address: tuple[str, int]) -> None:
    size = 8 * HEAD_BYTES
    with socket.create_connection(address, timeout=PATIENCE_SECONDS) as client:
        client.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        found = said(client)
    assert found.count(b"200 OK") == 2


def test_what_follows_a_body_has_an_end_and_is_not_kept(address: tuple[str, int]) -> None:
    chunked = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    with socket.create_connection(address, timeout=PATIENCE_SECONDS) as client:
        for part in (chunked, *[b"1\r\nx\r\n"] * 100, b"0\r\n", b"trailer: x\r\n", b"\r\n"):
            client.sendall(part)
        assert said(client).endswith(b"\r\n\r\n3")
    with socket.create_connection(address, timeout=PATIENCE_SECONDS) as client:
        client.sendall(chunked + b"0\r\n")
        sent = 0
        with suppress(BrokenPipeError, ConnectionResetError):
            while sent < 2**26:
                client.sendall(b"a:b\r\n" * 2**11)
                sent += 5 * 2**11
        assert HEAD_BYTES < sent < 2**26


def test_who_sent_half_of_a_further_request_gets_the_answers_to_those_before(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)
    whole = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n"
    with socket.create_connection(address, timeout=PATIENCE_SECONDS) as client:
        client.sendall(whole + whole + whole[:10])
        assert said(client).count(b"200 OK") == 2
