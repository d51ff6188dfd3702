"""Models in the browser: a source is judged while it is typed, and registering leads to the model's page."""

import csv
import io
from pathlib import Path
from xml.etree import ElementTree

import pytest
from playwright.sync_api import expect

from tests import tiny_models
from tests.web.chromium import Watched

SVG = "{http://www.w3.org/2000/svg}"


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


@pytest.mark.parametrize("path", ["/", "/models/toy"])
def test_the_bytes_of_models_can_be_saved(watched: Watched, path: str) -> None:
    page = watched.page
    page.goto(path)
    with page.expect_download() as download:
        page.click("text=CSV")
    saved = {row["model"]: row for row in csv.DictReader(io.StringIO(Path(download.value.path()).read_text()))}
    parts = [int(saved["toy"][f"{part}_bytes"]) for part in ("layer", "embedding", "other")]
    with page.expect_download() as download:
        page.click("text=SVG")
    drawing = ElementTree.fromstring(Path(download.value.path()).read_text())  # noqa: S314  (our own)
    bars = [rect for rect in drawing.iter(f"{SVG}rect") if rect.get("height") == "14"][: len(parts)]
    assert len(drawing.findall(f"{SVG}text")) == len(saved) + len(parts)
    if len(saved) == 1:
        widths = [float(bar.get("width", "")) for bar in bars]
        assert widths == pytest.approx([720 * part / sum(parts) for part in parts], abs=0.1)
    with page.expect_download() as download:
        page.click("text=PNG")
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
