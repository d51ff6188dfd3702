"""`bitplan serve` ends in order."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from anyio.to_thread import run_sync

from planner.cli import commands_running
from planner.cli import server as server_module
from planner.cli.processes import LEAVE_SECONDS
from planner.cli.server import Server
from planner.settings import Settings
from planner.storage.database import Database
from planner.worker import supervisor
from planner.worker.beside_service import GRACE_SECONDS


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_signal_that_says_stop_waits_for_the_worker(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[str] = []

    @contextmanager
    def fake_worker(*_args: Any, **_settings: Any) -> Iterator[None]:
        try:
            yield
        finally:
            ends.append("drained")

    monkeypatch.setattr(supervisor, "supervised_worker", fake_worker)
    monkeypatch.setattr(
        uvicorn.Server, "run", lambda _server, _sockets: signal.raise_signal(signal.SIGTERM)
    )  # as it does at its end
    monkeypatch.setattr(commands_running, "open_database", lambda: database)
    monkeypatch.setattr(commands_running, "settings", lambda: Settings(data_dir=tmp_path))
    monkeypatch.setattr(commands_running, "configure_service_logs", lambda _settings: None)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            commands_running.serve()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 0
    assert ends == ["drained"]


async def answer_without_end(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": bytes(2**16), "more_body": True})


def test_a_client_that_does_not_read_keeps_no_service_from_stopping() -> None:
    told: list[bool] = []
    config = uvicorn.Config(answer_without_end, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=0)
    server = Server(config, on_stop=lambda: told.append(thread.is_alive()))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        with socket.create_connection(listening.getsockname(), timeout=30) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert client.recv(1)
            server.should_exit = True
            thread.join(30)
    assert not thread.is_alive()
    assert told == [True]  # what stops beside it is told while it stops


def test_an_answer_that_cannot_be_cancelled_keeps_no_service_from_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = threading.Event(), threading.Event()

    def solve() -> None:
        begun.set()
        assert ended.wait(30)

    async def answer(_scope: Any, _receive: Any, _send: Any) -> None:
        await run_sync(solve)

    def leave(code: int) -> None:
        codes.append(code)
        ended.set()

    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(server_module, "LEAVE_SECONDS", 0.0)
    config = uvicorn.Config(answer, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=0)
    server = Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        with socket.create_connection(listening.getsockname(), timeout=30) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert begun.wait(30)
            server.should_exit = True
            thread.join(30)
    assert not thread.is_alive()
    assert codes == [0]


def test_a_service_stops_within_the_patience_of_its_manager() -> None:
    deploy = Path(commands_running.__file__).parents[2] / "deploy"
    assert "TimeoutStopSec=30s" in (deploy / "bitplan.service").read_text()
    assert "stop_grace_period: 30s" in (deploy / "compose.yaml").read_text()
    worker_seconds = supervisor.Supervisor(["true"], {}).grace_seconds
    assert commands_running.ANSWER_SECONDS < LEAVE_SECONDS < 30
    assert GRACE_SECONDS < worker_seconds < 30
