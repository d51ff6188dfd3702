"""The whole way in the browser: register, measure, look, drag a budget, pin, keep, evaluate, compare, export."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from api.web.formatting import with_error
from planner.settings import Settings
from planner.storage.database import Database
from planner.worker.process import make_worker
from tests import tiny_models
from tests.api.serving import Served, serve_database
from tests.web.chromium import Watched, watched_page

UNWANTED = ("INT3_G64", "INT5_G64", "INT6_G64")
"""Of the six usual formats."""
TEXT = " ".join(f"The {n}th sentence says that {n} and {n * n} are numbers." for n in range(200))
CUT = {"sequences": 2, "sequence_length": 16, "held_out_sequences": 2, "held_out_length": 16}
LAYERS = 14
"""Of two blocks; the head stays as it is."""


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Served]:
    """A service that knows a short text and no model."""
    url = f"sqlite:///{tmp_path / 'bitplan.db'}"
    database = Database(url)
    database.upgrade()
    database.close()
    with serve_database(tmp_path, url) as served:
        served.client.post("/v1/calibrations", json={"text": TEXT, "name": "short", **CUT}).raise_for_status()
        yield served


@pytest.fixture
def watched(browser: Browser, empty: Served) -> Iterator[Watched]:
    """A page of this service; the test fails if it did what it should not do."""
    with watched_page(browser, str(empty.client.base_url).rstrip("/")) as opened:
        yield opened
        assert opened.faults == []


def work(served: Served, folder: Path) -> None:
    """What a worker does until no job is left."""
    database = Database(served.url)
    make_worker(database, Settings(data_dir=folder, database_url=served.url), poll_seconds=0.05).run(until_idle=True)
    database.close()


def replanned(page: Page) -> None:
    """Wait until the studio shows another plan than the one that ``mark`` saw."""
    page.wait_for_selector("body[data-drawn]:not([data-drawn='seen'])")


def mark(page: Page) -> None:
    page.evaluate("document.body.dataset.drawn = 'seen'")


def keep(page: Page) -> str:
    """Keep the plan of the studio; its id."""
    page.get_by_role("button", name="Keep this plan").click()
    page.wait_for_url("**/plans/*")
    page.wait_for_selector("body[data-drawn]")
    return page.url.rpartition("/")[2]


def register_and_measure(page: Page, served: Served, checkpoint: Path, folder: Path) -> None:
    """From the list of models to a job that is done."""
    page.goto("/")
    page.get_by_label("Directory of safetensors, GGUF file, or hub id").fill(str(checkpoint))
    expect(page.locator("#found")).to_contain_text("llama, 15 layers in 2 blocks")
    page.get_by_role("button", name="Register").click()
    page.get_by_role("link", name="Measure it", exact=True).click()

    measuring = page.locator("#measure-form")
    page.wait_for_selector("#measure-form[data-forecast]")
    for name in UNWANTED:
        measuring.locator(f'input[name="formats"][value="{name}"]').uncheck()
    expect(measuring).to_contain_text("3 formats on 2 sequences")
    measuring.get_by_role("button", name="Start measuring").click()
    page.wait_for_url("**/jobs/*")
    work(served, folder)
    page.wait_for_selector("body[data-state='succeeded']")


def keep_two(page: Page) -> tuple[str, str]:
    """Two plans of the studio: one by its slider, and the same with a pin."""
    page.wait_for_selector("body[data-frontier]")
    assert page.locator("#strip g.tile").count() == LAYERS
    box = page.locator("#slider").bounding_box()
    assert box is not None
    mark(page)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    replanned(page)
    first = keep(page)

    page.get_by_role("link", name="Open in the studio").click()
    page.wait_for_selector("body[data-frontier]")
    mark(page)
    page.locator("#strip g.tile").first.click()
    page.locator("#pin").get_by_text("INT2_G64").click()
    replanned(page)
    second = keep(page)
    assert page.locator("#strip g.tile title").first.text_content() == "q_proj of block 0: INT2_G64, 2.25 bits"
    return first, second


def test_from_a_checkpoint_to_an_export(watched: Watched, empty: Served, tmp_path: Path) -> None:
    page = watched.page
    register_and_measure(page, empty, tiny_models.tiny_llama(tmp_path / "tiny"), tmp_path)

    page.get_by_role("link", name="See what it found").click()
    page.wait_for_selector("body[data-drawn]")
    assert page.locator('[aria-label="cell"] rect').count() >= LAYERS

    page.get_by_role("link", name="Studio").click()
    first, second = keep_two(page)

    page.locator("#evaluate").hover()
    page.wait_for_selector("#forecast:not(:empty)")
    page.get_by_role("button", name="Measure this plan").click()
    page.wait_for_url("**/jobs/*")
    work(empty, tmp_path)
    page.wait_for_selector("body[data-state='succeeded']")
    page.goto(f"/plans/{second}")
    measured = empty.client.get(f"/v1/plans/{second}/evaluations").json()["items"]
    assert [item["label"].split()[0] for item in measured] == ["plan", "uniform"]
    expect(page.locator("tr.own")).to_contain_text(with_error(measured[0]["kl"]["value"], measured[0]["kl"]["standard_error"]))

    page.get_by_role("link", name="Frontier").click()
    page.wait_for_selector("body[data-drawn]")
    assert page.locator("#picture .measured-plans circle").count() == 1

    page.get_by_role("link", name="Plans").last.click()
    for plan in (first, second):
        page.check(f'input.pick[value="{plan}"]')
    page.get_by_role("button", name="Compare two plans").click()
    page.wait_for_selector("#changed-layers")
    expect(page.locator("#changed-layers")).to_contain_text("model.layers.0.self_attn.q_proj")

    page.goto(f"/plans/{second}")
    with page.expect_download() as download:
        page.click("a.export >> text=json")
    exported = json.loads(Path(download.value.path()).read_text())
    assert exported == empty.client.get(f"/v1/plans/{second}/export?target=json").json()
