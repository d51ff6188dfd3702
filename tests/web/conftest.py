"""A browser, and a service over a measured model of 224 layers."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.api.serving import Served, serve
from tests.web.chromium import Watched, chromium, find_chromium, watched_page


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium; where there is none, ``make web-test`` fails and the suite goes on without."""
    if find_chromium() is None and os.environ.get("BITPLAN_BROWSER") != "required":
        pytest.skip("no Chromium on this machine: install Debian's package `chromium` (`make web-test` asks for it)")
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The service over a measured model of 32 blocks with 7 layers each."""
    folder: Path = tmp_path_factory.mktemp("web")
    with serve(folder) as running:
        yield running


@pytest.fixture
def watched(browser: Browser, served: Served) -> Iterator[Watched]:
    """A page of the service; the test fails if it did what it should not do."""
    with watched_page(browser, str(served.client.base_url).rstrip("/")) as opened:
        yield opened
        assert opened.faults == []
