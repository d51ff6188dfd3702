"""Logs: one form for everything, and no secret in it."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from planner.logs import configure_logs, configure_service_logs
from planner.settings import Settings
from planner.storage.database import Database

Written = Callable[[], str]
CANARY = 'c4nary"5ecret'
URL = "postgresql+psycopg://someone:c4nary%225ecret@127.0.0.1:1/nowhere"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Written]:
    """What went to standard error so far; what the configuration of logs changes is put back afterwards."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    yield lambda: capsys.readouterr().err
    structlog.reset_defaults()
    root.setLevel(level)
    root.handlers[:] = handlers
    logging.captureWarnings(capture=False)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_cancelled_answer_is_no_news(written: Written) -> None:
    configure_service_logs(Settings(log_level="INFO"))
    for error in (asyncio.CancelledError(), ValueError("news")):
        logging.getLogger("uvicorn.error").error("Exception in ASGI application", exc_info=error)
    (line,) = lines(written())
    assert "news" in line["exception"]


def test_everything_comes_out_as_json_lines(written: Written) -> None:
    configure_service_logs(Settings(log_level="INFO"))
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger("api").info("served", status=200)
        logging.getLogger("uvicorn.error").info("Started on port %d", 8000)
    logging.getLogger("sqlalchemy.engine").info("SELECT 1")
    structlog.get_logger("api").debug("too fine")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("deprecated", stacklevel=1)
    first, second, third = lines(written())
    assert (first["event"], first["status"], first["level"], first["request_id"]) == ("served", 200, "info", "r1")
    assert (second["event"], second["logger"], second["request_id"]) == ("Started on port 8000", "uvicorn.error", "r1")
    assert third["logger"] == "py.warnings"
    assert "deprecated" in third["event"]


def test_text_is_for_people(written: Written) -> None:
    configure_logs(form="text")
    structlog.get_logger().warning("no database", error="away")
    text = written()
    assert "[warning  ] no database" in text
    assert "error=away" in text


def test_a_second_configuration_replaces_the_first(written: Written) -> None:
    configure_logs("INFO")
    configure_logs("INFO")
    logging.getLogger("somebody").warning("once")
    assert len(lines(written())) == 1


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_secret_is_logged(written: Written, form: Any) -> None:
    settings = Settings(database_url=URL, log_format=form)
    configure_service_logs(settings)
    log = structlog.get_logger()
    log.info("starting", database=settings.database_url, settings=settings, opened=Database(URL))
    log.info("headers", headers=[("authorization", f"Bearer {CANARY}")], key={"x-api-key": CANARY})
    logging.getLogger("uvicorn.error").error("cannot reach %s", settings.resolved_database_url)
    try:
        try:
            raise ValueError(CANARY)
        except ValueError as error:
            raise RuntimeError(settings.resolved_database_url) from error
    except RuntimeError as error:
        log.exception("failed", secret=CANARY)
        logging.getLogger("other").exception("failed")
        sys.excepthook(type(error), error, error.__traceback__)
        threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, None)))
    text = written()
    assert text.count("RuntimeError") >= 4
    for secret in (CANARY, "c4nary", "5ecret"):
        assert secret not in text
    if form == "json":
        assert len(lines(text)) == 7


def test_a_thread_that_ends_itself_is_no_fault(written: Written) -> None:
    configure_service_logs(Settings())
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    assert written() == ""


def test_a_process_that_cannot_reach_its_database_keeps_its_password(tmp_path: Path) -> None:
    environment = os.environ | {"BITPLAN_DATABASE_URL": URL, "BITPLAN_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "planner.worker"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "someone:***@127.0.0.1" in ended.stderr
    assert "c4nary" not in ended.stderr + ended.stdout


def test_a_url_that_cannot_be_read_has_no_secret_to_tell() -> None:
    assert Settings(database_url="not a url").secrets == ()
    assert Settings(database_url=URL).secrets == (CANARY,)
    assert Settings().secrets == ()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full, as Linux has one at hand")
def test_a_full_disk_of_logs_stops_nobodys_work() -> None:
    code = """
import structlog
from planner.logs import configure_service_logs
from planner.settings import Settings
configure_service_logs(Settings())
for _ in range(3):
    structlog.get_logger("x").warning("lost")
print("went on", flush=True)
import os
os._exit(0)
"""
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=full, text=True, check=False, timeout=60
        )
    assert (ended.returncode, ended.stdout) == (0, "went on\n")
