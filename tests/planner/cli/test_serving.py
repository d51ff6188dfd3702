"""`bitplan serve` ends in order."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from planner.cli import commands_running
from planner.settings import Settings
from planner.storage.database import Database
from planner.worker import supervisor


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
    monkeypatch.setattr(uvicorn.Server, "run", lambda _server: signal.raise_signal(signal.SIGTERM))  # as it does at its end
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
