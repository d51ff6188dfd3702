"""What holds for every page: nothing fails, nothing leaves the machine, and it can be read on a phone."""

import gzip
import hashlib
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from api.web import pages
from tests.api.serving import Served
from tests.web.chromium import DESKTOP, PHONE, watched_page

STATIC = Path(pages.__file__).parent / "static"
VENDORED = {  # file: (release, SHA-256 of its minified build as published)
    "htmx.min.js": ("htmx.org 4.0.1", "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130"),
    "d3.min.js": ("d3 7.9.2", "912111098ea99503a6f4967361d2bbdc9dbf58cf9c678c8e27e5b02d1a07f0c1"),
    "plot.min.js": ("@observablehq/plot 0.6.17", "4358086467740777dd788d6b27a95cebdbaefdd50c730a3060117073bd7134cb"),
}
MOST_VENDORED_BYTES = 250_000
PAGES = (
    "/",
    "/models/toy",
    "/models/toy/sensitivity",
    "/models/toy/studio",
    "/models/toy/frontier",
    "/plans",
    "/jobs",
    "/docs",
    "/sign-in",
)

DRAWN = ("/models/toy/sensitivity", "/models/toy/studio", "/models/toy/frontier")


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (PHONE, True)], ids=["desktop", "phone-in-the-dark"])
def test_a_page_loads_without_a_fault_and_fits_the_screen(
    browser: Browser, served: Served, path: str, size: tuple[int, int], dark: bool
) -> None:
    with watched_page(browser, str(served.client.base_url).rstrip("/"), size=size, dark=dark) as watched:
        watched.page.goto(path)
        if path in DRAWN:
            watched.page.wait_for_selector("body[data-drawn]")
        assert watched.page.title().endswith("bitplan")
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert watched.faults == []


def test_vendored_files_are_as_published_light_and_licensed() -> None:
    found = {path.name for path in (STATIC / "vendor").glob("*.js")}
    assert found == set(VENDORED)
    for name, (_, digest) in VENDORED.items():
        content = (STATIC / "vendor" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
        assert (STATIC / "vendor" / name.replace(".min.js", ".LICENSE")).read_text()
    weight = sum(len(gzip.compress((STATIC / "vendor" / name).read_bytes(), 9)) for name in VENDORED)
    assert weight < MOST_VENDORED_BYTES
