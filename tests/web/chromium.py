"""A headless Chromium that notes everything a page should not do.

Debian's package `chromium` is driven; ``BITPLAN_CHROMIUM`` names another one.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, sync_playwright

DESKTOP: Final = (1280, 900)
PHONE: Final = (390, 844)
_ARGUMENTS: Final = ("--no-sandbox", "--disable-dev-shm-usage", "--force-color-profile=srgb")


def find_chromium() -> str | None:
    """Path of a Chromium on this machine."""
    return os.environ.get("BITPLAN_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser.

    Raises:
        FileNotFoundError: there is none on this machine.
    """
    path = find_chromium()
    if path is None:
        msg = "no Chromium on this machine: install Debian's package `chromium`, or name one in BITPLAN_CHROMIUM"
        raise FileNotFoundError(msg)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page, and what it did that it should not do.

    Attributes:
        page: playwright's page; its paths are relative to the service.
        address: of the service, as ``http://127.0.0.1:8000``.
        refusals: statuses of 400 and above that the test provokes.
        faults: errors and warnings of the console (violations of the Content-Security-Policy among them), exceptions,
            requests to other hosts, and answers of the service that failed.
    """

    page: Page
    address: str
    refusals: tuple[int, ...] = ()
    faults: list[str] = field(default_factory=list)

    def note_console(self, message: ConsoleMessage) -> None:
        """An error or a warning is a fault. A failed answer is told by ``note_answer``, with its address."""
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.faults.append(f"{message.type}: {message.text}")

    def note_request(self, request: Request) -> None:
        """Only this service may be asked; `blob:` and `data:` do not leave the browser."""
        parts = urlsplit(request.url)
        if parts.scheme not in ("blob", "data") and f"{parts.scheme}://{parts.netloc}" != self.address:
            self.faults.append(f"request to {request.url}")

    def note_answer(self, answer: Response) -> None:
        """Only a refusal that the test provokes may fail."""
        if answer.status >= 400 and answer.status not in self.refusals:
            self.faults.append(f"{answer.status} from {answer.url}")

    def screenshot(self, folder: Path, name: str) -> Path:
        """A picture of the whole page."""
        path = folder / f"{name}.png"
        self.page.screenshot(path=path, full_page=True)
        return path


@contextmanager
def watched_page(
    browser: Browser, address: str, *, size: tuple[int, int] = DESKTOP, dark: bool = False, refusals: tuple[int, ...] = ()
) -> Iterator[Watched]:
    """A fresh page of a service, without cookies; what it should not do is in ``faults``.

    Args:
        browser: a running one.
        address: of the service, as ``http://127.0.0.1:8000``.
        size: width and height in CSS pixels.
        dark: whether the reader prefers dark pages.
        refusals: statuses of 400 and above that the test provokes.
    """
    width, height = size
    context = browser.new_context(
        base_url=address,
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        accept_downloads=True,
    )
    context.set_default_timeout(15_000)
    page = context.new_page()
    watched = Watched(page, address, refusals)
    page.on("console", watched.note_console)
    page.on("pageerror", lambda error: watched.faults.append(f"exception: {error}"))
    page.on("request", watched.note_request)
    page.on("response", watched.note_answer)
    try:
        yield watched
    finally:
        context.close()
