"""Models in the browser: a source is judged while it is typed, and registering leads to the model's page."""

from pathlib import Path

from playwright.sync_api import expect

from tests import tiny_models
from tests.web.chromium import Watched


def test_a_source_is_judged_while_it_is_typed_and_registered_at_last(watched: Watched, tmp_path: Path) -> None:
    checkpoint = tiny_models.tiny_llama(tmp_path / "typed-llama", seed=7)
    watched.refusals = (422,)
    page = watched.page
    page.goto("/")
    found = page.locator("#found")
    source = page.get_by_label("Directory of safetensors, GGUF file, or hub id")
    source.fill(str(checkpoint.parent / "typed-lla"))
    expect(found).to_contain_text("there is no directory or file")
    expect(found).to_have_class("found problem")
    source.fill(str(checkpoint))
    expect(found).to_contain_text("llama, 15 layers in 2 blocks")
    expect(found).to_contain_text("It will be called typed-llama.")
    page.get_by_label("Name", exact=True).fill("by hand")
    source.press("Enter")
    expect(page.get_by_role("heading", name="by hand")).to_be_visible()
    expect(page.get_by_role("link", name="Measure it", exact=True)).to_be_visible()
    page.goto("/")
    page.get_by_label("Directory of safetensors, GGUF file, or hub id").fill(str(checkpoint))
    expect(found).to_contain_text("Registered already: by hand")
    found.get_by_role("link").click()
    expect(page.get_by_role("heading", name="by hand")).to_be_visible()


def test_an_overview_leads_to_every_other_page_of_the_model(watched: Watched) -> None:
    page = watched.page
    page.goto("/")
    page.get_by_role("link", name="toy", exact=True).click()
    tabs = page.get_by_role("navigation", name="Pages of this model")
    expect(tabs.get_by_role("link")).to_have_count(6)
    tabs.get_by_role("link", name="Sensitivity").click()
    expect(page.locator("body[data-drawn]")).to_be_attached()
