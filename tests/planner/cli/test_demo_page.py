"""How the demo ends: the page is served where a person sits at the terminal, and told elsewhere."""

import socket
import sys
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from planner.cli import commands_running, demo_page
from planner.cli.workspace import open_database, settings
from planner.storage.database import Database

MODEL = "0123abcd"
EVERYWHERE = "0.0.0.0"  # noqa: S104  (nothing listens there)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setenv(demo_page.DATABASE, "sqlite:////nowhere/of-the-user.db")
    remembered = (settings, open_database)
    for one in remembered:
        one.cache_clear()
    yield Database(f"sqlite:///{tmp_path / 'demo.db'}")
    for one in remembered:
        one.cache_clear()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `serve` was asked for, which is not begun."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(commands_running, "serve", lambda **given: asked.append(given | {"url": settings().database_url}))
    return asked


@pytest.mark.parametrize(("page", "terminal"), [(True, False), (False, True), (False, False)])
def test_without_a_person_or_without_the_page_the_demo_says_how_to_open_it_and_ends(
    database: Database,
    served: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    page: bool,
    terminal: bool,
) -> None:
    monkeypatch.setattr(demo_page, "is_interactive", lambda: terminal)
    demo_page.end_with_page(database, MODEL, page=page)
    said = capsys.readouterr().out
    assert f"BITPLAN_DATABASE_URL={database.full_url} bitplan serve" in said
    assert f"then open http://127.0.0.1:8000/models/{MODEL}" in said
    assert served == []


@pytest.mark.parametrize("display", [True, False])
def test_a_person_gets_the_demo_s_own_database_served_and_a_browser_where_there_is_a_display(
    database: Database,
    served: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    display: bool,
) -> None:
    opened: list[tuple[Any, ...]] = []
    monkeypatch.setattr(demo_page, "is_interactive", lambda: True)
    monkeypatch.setattr(demo_page, "has_display", lambda: display)
    monkeypatch.setattr(demo_page, "open_when_ready", lambda *asked: opened.append(asked))
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        monkeypatch.setenv("BITPLAN_PORT", str(taken))
        demo_page.end_with_page(database, MODEL, page=True)
    (asked,) = served
    assert asked["url"] == database.full_url
    assert asked["port"] not in (0, taken)  # another service has the usual one
    address = f"http://127.0.0.1:{asked['port']}/models/{MODEL}"
    assert address in capsys.readouterr().out
    assert opened == ([("127.0.0.1", asked["port"], address)] if display else [])


def test_the_browser_waits_until_the_service_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def opens(address: str) -> bool:
        opened.append(address)
        return True

    monkeypatch.setattr(webbrowser, "open", opens)
    port = demo_page.free_port("127.0.0.1", 0)
    listening: list[socket.socket] = []
    monkeypatch.setattr(time, "sleep", lambda _seconds: listening.append(socket.create_server(("127.0.0.1", port))))
    try:
        assert demo_page.open_when_ready(EVERYWHERE, port, "http://here/")
    finally:
        for one in listening:
            one.close()
    assert len(listening) == 1
    assert opened == ["http://here/"]
    monkeypatch.setattr(demo_page, "PATIENCE_SECONDS", 0.0)
    assert not demo_page.open_when_ready("127.0.0.1", port, "http://here/")


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:80/models/0123abcd"),
        (EVERYWHERE, "http://127.0.0.1:80/models/0123abcd"),
        ("::1", "http://[::1]:80/models/0123abcd"),
        ("::", "http://[::1]:80/models/0123abcd"),
    ],
)
def test_a_browser_is_sent_where_it_reaches_the_service(host: str, address: str) -> None:
    assert demo_page.page_address(host, 80, MODEL) == address


def test_a_display_is_what_a_desktop_has_or_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert not demo_page.has_display()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert demo_page.has_display()
    monkeypatch.delenv("WAYLAND_DISPLAY")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert demo_page.has_display()
