"""A service that asks for a key: pages, fetches, parts of pages and streams lead to the form, and the form leads back."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from planner.schemas.keys import AccessScope
from planner.services.keys import create_key
from planner.storage.database import Database
from tests.api.serving import Served, serve
from tests.web.chromium import Watched, watched_page


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    """A service with a key, and the key."""
    folder: Path = tmp_path_factory.mktemp("locked")
    with serve(folder, blocks=2) as running:
        database = Database(running.url)
        with database.session() as session:
            key = create_key(session, "browser", [AccessScope.READ, AccessScope.MEASURE]).key
        database.close()
        yield running, key


@pytest.fixture
def guest(browser: Browser, locked: tuple[Served, str]) -> Iterator[Watched]:
    """A page of that service, without a key."""
    with watched_page(browser, str(locked[0].client.base_url).rstrip("/"), refusals=(401,)) as opened:
        yield opened
        assert opened.faults == []


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_a_page_leads_to_the_form_and_the_form_back_to_it(guest: Watched, locked: tuple[Served, str]) -> None:
    page = guest.page
    page.goto("/models/toy/sensitivity?format=INT3_G64&layer=model.layers.1.mlp.up_proj")
    sign_in(page, "bp_wrong")
    expect(page.get_by_role("alert").first).to_be_visible()
    sign_in(page, locked[1])
    expect(page.locator("#chosen")).to_contain_text("up_proj of block 1")
    expect(page.locator("[name=format]")).to_have_value("INT3_G64")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()


def test_a_key_that_is_gone_meanwhile_is_asked_for_again_wherever_it_is_missed(
    guest: Watched, locked: tuple[Served, str]
) -> None:
    page = guest.page
    page.goto("/jobs?state=queued")
    sign_in(page, locked[1])
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    page.context.clear_cookies()  # the next part that the page asks for, within three seconds, is refused
    expect(page.get_by_label("API key")).to_be_visible(timeout=15_000)
    sign_in(page, locked[1])
    expect(page.locator("[name=state]")).to_have_value("queued")
    page.context.clear_cookies()
    page.get_by_text("Start a measurement").click()
    page.locator("#measure-form").get_by_label("Probe").select_option("weight_error")  # which fetches a forecast
    expect(page.get_by_label("API key")).to_be_visible()
    sign_in(page, locked[1])
    expect(page.locator("[name=state]")).to_have_value("queued")
