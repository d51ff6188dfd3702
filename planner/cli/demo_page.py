"""How `bitplan demo` ends: with the page open on what it made.

On a terminal the service is started over the demo's database, and a browser is opened where there is a display. Elsewhere, in a
pipeline or with ``--no-page``, the command that would do so is printed.
"""

import os
import shlex
import socket
import sys
import threading
import time
import webbrowser
from contextlib import suppress
from typing import Final

from planner.cli.reporting import out
from planner.cli.workspace import open_database, settings
from planner.storage.database import Database

DATABASE: Final = "BITPLAN_DATABASE_URL"
PATIENCE_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.2
_DISPLAYS: Final = ("DISPLAY", "WAYLAND_DISPLAY")
_EVERY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (what a browser asks where a service listens on all)


def end_with_page(database: Database, model: str, *, page: bool) -> None:
    """Serve the page until the person at the terminal ends it, or say what would.

    Args:
        database: the demo's; it is closed.
        model: id of the demo's model.
        page: whether to serve where a person sits at the terminal.
    """
    database.close()
    if page and is_interactive():
        serve_page(database.full_url, model)
    else:
        tell_page(database.url.render_as_string(), model)


def is_interactive() -> bool:
    """Whether a person looks at this terminal, and can end what goes on running."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def has_display() -> bool:
    """Whether a browser can show anything: always on a desktop system, elsewhere where a display is named."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in _DISPLAYS)


def tell_page(url: str, model: str) -> None:
    """Print what opens the page.

    Args:
        url: of the demo's database, without a password.
        model: id of the demo's model.
    """
    address = page_address(settings().host, settings().port, model)
    _say(f"page      {DATABASE}={shlex.quote(url)} bitplan serve\n          then open {address}")


def serve_page(url: str, model: str) -> None:
    """Serve the demo's database until the person ends it, with a browser open on the model.

    Args:
        url: of the demo's database.
        model: id of the demo's model.
    """
    from planner.cli.commands_running import serve

    os.environ[DATABASE] = url  # the worker and the process that answers read it
    for remembered in (settings, open_database):
        remembered.cache_clear()
    host = settings().host
    port = free_port(host, settings().port)
    address = page_address(host, port, model)
    _say(f"page      {address}   (Ctrl-C ends the service)")
    if has_display():
        threading.Thread(target=open_when_ready, args=(host, port, address), daemon=True).start()
    serve(host=host, port=port)


def page_address(host: str, port: int, model: str) -> str:
    """Where a browser finds the model.

    Args:
        host: address that the service listens on.
        port: likewise.
        model: its id.
    """
    reached = _EVERY_ADDRESS.get(host, host)
    return f"http://{f'[{reached}]' if ':' in reached else reached}:{port}/models/{model}"


def free_port(host: str, wanted: int) -> int:
    """The port that is asked for if nobody listens on it, else any free one.

    Args:
        host: address to listen on.
        wanted: port to listen on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in (wanted, 0):
        with socket.socket(family) as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    return wanted


def open_when_ready(host: str, port: int, address: str) -> bool:
    """Open a browser once the service listens.

    Args:
        host: address that the service listens on.
        port: likewise.
        address: of the page.

    Returns:
        Whether a browser was asked to open it; not where the service did not begin in time, or there is no browser.
    """
    stop = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < stop:
        with suppress(OSError), socket.create_connection((_EVERY_ADDRESS.get(host, host), port), timeout=5):
            return webbrowser.open(address)
        time.sleep(_PAUSE_SECONDS)
    return False


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
