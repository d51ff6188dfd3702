"""Sensitivity in the browser: what is drawn is what the service says, by mouse and by keyboard."""

import csv
import io
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from planner.storage.database import Database
from tests import synthetic
from tests.api.serving import Served
from tests.web.chromium import PHONE, Watched, watched_page

CELLS = '#map g[aria-label="cell"] rect'


@pytest.fixture(scope="module")
def twice(served: Served) -> tuple[str, str]:
    """A model that was measured with two probes, the second in four of the formats of the first; both ids."""
    described = synthetic.description(blocks=6, name="twice")
    few = ("INT2_G64", "INT3_G64", "INT4_G64", "INT8_G64")
    database = Database(served.url)
    with database.session() as session:
        synthetic.add_model(session, described)
        text = synthetic.add_calibration(session)
        first = synthetic.add_cells(session, described, synthetic.setting(text))
        second = synthetic.add_cells(session, described, synthetic.setting(text, probe="kl"), formats=few, seed=1)
    database.close()
    return first, second


def drawn(page: Page, path: str) -> None:
    page.goto(path)
    page.wait_for_selector("body[data-drawn]")


def curves(served: Served, **query: str) -> list[dict[str, object]]:
    answer: httpx2.Response = served.client.get("/v1/models/toy/curves", params={"probe": "fisher", **query})
    items: list[dict[str, object]] = answer.json()["items"]
    return items


def lightness_of(fill: str) -> float:
    """Relative luminance of ``rgb(r, g, b)`` (WCAG 2.2)."""
    channels = [int(channel) / 255 for channel in fill.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_there_is_a_tile_for_every_layer_and_the_most_sensitive_is_chosen(watched: Watched, served: Served) -> None:
    page = watched.page
    drawn(page, "/models/toy/sensitivity?format=INT3_G64")
    cells = curves(served, formats="INT3_G64")
    assert page.locator(CELLS).count() == len(cells) == 224
    worst = max(cells, key=lambda cell: float(str(cell["loss"])))
    expect(page.locator("#chosen")).to_contain_text(f"{worst['kind']} of block {worst['block']}: {worst['loss']:.3g}")
    expect(page.locator("#most tbody tr").first).to_contain_text(str(worst["layer"]).removeprefix("model."))
    expect(page.locator("#curves-title")).to_have_text(f"Error curve of {worst['layer']}")
    assert page.locator('#curves g[aria-label="dot"] path').count() == 7, "of eight formats BF16 loses nothing"
    assert page.locator("#curves .neighbours path").count() == 31 * 2, "31 blocks, INT formats and FP8"
    assert page.locator("#curves .errors line").count() == 7


def test_colours_rise_in_lightness_with_the_loss(watched: Watched, served: Served) -> None:
    page = watched.page
    drawn(page, "/models/toy/sensitivity?format=INT4_G64")
    losses = [float(str(cell["loss"])) for cell in curves(served, formats="INT4_G64")]
    fills = page.locator(CELLS).evaluate_all("all => all.map((one) => one.getAttribute('fill'))")
    lightness = [lightness_of(fill) for _, fill in sorted(zip(losses, fills, strict=True))]
    assert all(after >= before - 0.01 for before, after in pairwise(lightness))
    assert lightness[-1] - lightness[0] > 0.7


def test_keys_and_clicks_choose_a_layer_which_a_link_opens_again(watched: Watched) -> None:
    page = watched.page
    drawn(page, "/models/toy/sensitivity?layer=model.layers.3.self_attn.k_proj")
    expect(page.locator("#chosen")).to_contain_text("k_proj of block 3")
    page.locator("#map").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#chosen")).to_contain_text("v_proj of block 4")
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    expect(page.locator("#chosen")).to_contain_text("v_proj of block 0")
    page.locator(CELLS).nth(9).click()
    expect(page.locator("#chosen")).to_contain_text("v_proj of block 1")
    assert "layer=model.layers.1.self_attn.v_proj" in page.url
    page.reload()
    expect(page.locator("#chosen")).to_contain_text("v_proj of block 1")
    page.locator(CELLS).nth(223).click()
    expect(page.locator("#chosen")).to_contain_text("down_proj of block 31")
    page.locator("#least tbody button").nth(2).click()
    name = page.locator("#least tbody button").nth(2).text_content()
    expect(page.locator("#curves-title")).to_have_text(f"Error curve of model.{name}")


def test_order_by_size_is_another_order(watched: Watched, served: Served) -> None:
    page = watched.page
    drawn(page, "/models/toy/sensitivity?format=INT2_G64")
    page.get_by_label("order by").select_option("loss per stored megabyte")
    ends = served.client.get("/v1/models/toy/sensitivity", params={"probe": "fisher"}).json()["extremes"][0]
    shown = page.locator("#most tbody button").all_text_contents()
    assert shown == [layer["layer"].removeprefix("model.") for layer in ends["most_per_megabyte"]]


def test_two_measurements_have_the_rank_correlation_that_the_service_computes(
    watched: Watched, served: Served, twice: tuple[str, str]
) -> None:
    page = watched.page
    first, second = twice
    drawn(page, f"/models/twice/sensitivity?format=INT4_G64&setting={first}")
    page.get_by_label("beside").select_option(second)
    query = {"first": first, "second": second, "formats": "INT4_G64"}
    expected = served.client.get("/v1/models/twice/curves/comparison", params=query).json()["overall"]
    expect(page.locator("#agreement")).to_contain_text(f"{expected['cells']} tiles in INT4_G64")
    expect(page.locator("#agreement")).to_contain_text(f"rank correlation {expected['spearman']:.3f}")
    assert page.locator('#comparison g[aria-label="dot"] path').count() == expected["cells"] == 42
    page.locator("[name=format]").select_option("INT5_G64")
    expect(page.locator("#agreement")).to_contain_text("no number of INT5_G64 in common")
    page.locator("[name=setting]").select_option(second)
    expect(page.locator("[name=format] option")).to_have_count(4)
    expect(page.locator("#all-csv")).to_have_attribute("href", re.compile(f"setting={second}&format=csv"))


def test_a_picture_and_its_numbers_are_saved(watched: Watched, served: Served) -> None:
    page = watched.page
    drawn(page, "/models/toy/sensitivity?format=INT4_G64")
    kept: dict[str, bytes] = {}
    for kind in ("SVG", "PNG", "CSV"):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Save toy-sensitivity as {kind}").click()
        kept[kind] = Path(download.value.path()).read_bytes()
        assert download.value.suggested_filename == f"toy-sensitivity.{kind.lower()}"
    assert kept["SVG"].count(b"<rect") >= 224
    assert kept["PNG"].startswith(b"\x89PNG")
    rows = list(csv.DictReader(io.StringIO(kept["CSV"].decode())))
    assert {row["pattern"]: float(row["loss"]) for row in rows} == {
        cell["layer"]: cell["loss"] for cell in curves(served, formats="INT4_G64")
    }


def test_experts_share_a_tile_and_are_drawn_when_it_is_chosen(browser: Browser, served: Served) -> None:
    database = Database(served.url)
    described = synthetic.mixture(blocks=3, experts=20)
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
    database.close()
    with watched_page(browser, str(served.client.base_url).rstrip("/"), size=PHONE, dark=True) as watched:
        page = watched.page
        drawn(page, "/models/mixture/sensitivity?format=INT4_G64&layer=model.layers.1.mlp.experts.7.up_proj")
        assert page.locator(CELLS).count() == 3 * 5
        expect(page.locator("#chosen")).to_contain_text("up_proj of block 1, 20 experts: mean ")
        expect(page.locator('#experts g[aria-label="dot"] circle')).to_have_count(20)
        expect(page.locator("#curves-title")).to_have_text("Error curve of model.layers.1.mlp.experts.7.up_proj")
        page.locator("[name=format]").select_option("INT3_G64")
        expect(page.locator("#experts-title")).to_have_text("20 experts of this tile in INT3_G64")
        expect(page.locator("#expert")).to_have_value("model.layers.1.mlp.experts.7.up_proj")
        page.locator("#expert").select_option(index=3)
        expect(page.locator("#curves-title")).to_contain_text("Error curve of model.layers.1.mlp.experts.")
        assert "layer=model.layers.1.mlp.experts." in page.url
        page.locator('#experts g[aria-label="dot"] circle').nth(4).click()
        expect(page.locator("#curves-title")).to_contain_text("mlp.experts.4.up_proj")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    assert watched.faults == []


def test_older_answers_change_and_tell_nothing(browser: Browser, served: Served) -> None:
    database = Database(served.url)
    described = synthetic.mixture(blocks=2, experts=3, name="hasty")
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
    database.close()
    with watched_page(browser, str(served.client.base_url).rstrip("/"), refusals=(500,)) as watched:
        page = watched.page
        held: list[Route] = []
        page.route("**/curves?*gate_proj*", lambda route: held.append(route))  # noqa: PLW0108  (playwright marks its handlers)
        with page.expect_request("**/curves?*gate_proj*"):
            drawn(page, "/models/hasty/sensitivity?format=INT4_G64&layer=model.layers.0.mlp.experts.*.gate_proj")
        page.locator("#map").focus()
        page.keyboard.press("ArrowDown")
        expect(page.locator("#experts-title")).to_have_text("3 experts of this tile in INT4_G64")
        with page.expect_response("**/curves?*gate_proj*"):
            held[0].fulfill(status=500, json={"detail": "too late"})
        page.locator("#expert").select_option(index=1)
        expect(page.locator("#curves-title")).to_contain_text(".up_proj")
        assert "too late" not in page.inner_text("body")
        expect(page.locator("#expert option").nth(1)).to_contain_text(".up_proj")
    assert watched.faults == []


EXPERTS = 6
UP_PROJ = "model.layers.0.mlp.experts.{}.up_proj"


@pytest.fixture(scope="module")
def parted(served: Served) -> tuple[str, str, str]:
    """A mixture measured whole, with one expert of a tile alone, and with two of them; ids of the settings."""
    described = synthetic.mixture(blocks=2, experts=EXPERTS, name="parted")
    alone = tuple(layer for layer in described.layers if layer.expert is None or layer.name == UP_PROJ.format(3))
    two = tuple(layer for layer in described.layers if layer.name in (UP_PROJ.format(1), UP_PROJ.format(4)))
    database = Database(served.url)
    with database.session() as session:
        synthetic.add_model(session, described)
        text = synthetic.add_calibration(session)
        whole = synthetic.add_cells(session, described, synthetic.setting(text))
        kl = synthetic.setting(text, probe="kl")
        one = synthetic.add_cells(session, replace(described, layers=alone), kl, formats=("INT3_G64", "INT4_G64"), seed=5)
        some = synthetic.setting(probe="weight_error")
        pair = synthetic.add_cells(session, replace(described, layers=two), some, formats=("INT4_G64",), seed=9)
    database.close()
    return whole, one, pair


def loss_of(served: Served, setting: str, layer: str) -> str:
    asked = {"setting": setting, "layers": layer, "formats": "INT4_G64"}
    (cell,) = served.client.get("/v1/models/parted/curves", params=asked).json()["items"]
    return f"{cell['loss']:.3g}"


def test_the_curve_of_an_expert_is_its_own_in_each_measurement(
    watched: Watched, served: Served, parted: tuple[str, str, str]
) -> None:
    page, layer = watched.page, UP_PROJ.format(3)
    whole, one, _ = parted
    dots = page.locator('#curves g[aria-label="dot"] path')
    for setting, count, place in ((whole, 7, 2), (one, 2, 1)):
        if setting == whole:
            drawn(page, f"/models/parted/sensitivity?setting={setting}&format=INT4_G64&layer={layer}")
        else:
            page.locator("[name=setting]").select_option(setting)
        expect(dots).to_have_count(count)
        expect(page.locator("#curves-title")).to_have_text(f"Error curve of {layer}")
        dots.nth(place).hover()
        tip = page.locator('#curves g[aria-label="tip"] text')
        said = re.escape(f"{layer}:") + r"\W*" + re.escape(loss_of(served, setting, layer))  # over two lines
        expect(tip).to_contain_text(re.compile("INT4_G64.*" + said))
    page.reload()
    expect(dots).to_have_count(2)
    page.locator("[name=setting]").select_option(whole)
    expect(dots).to_have_count(7)


def test_a_tile_of_which_some_experts_were_measured_says_so(watched: Watched, parted: tuple[str, str, str]) -> None:
    page, tile = watched.page, UP_PROJ.format("*")
    whole, one, pair = parted
    for setting, count, words in (
        (one, 1, f"Error curve of {UP_PROJ.format(3)}, the only expert measured"),
        (pair, 2, "Error curve of up_proj of block 0, 6 experts, 2 of them measured, their mean"),
    ):
        drawn(page, f"/models/parted/sensitivity?setting={setting}&format=INT4_G64&layer={tile}")
        expect(page.locator("#curves-title")).to_have_text(words)
        expect(page.locator("#chosen")).to_contain_text(f"up_proj of block 0, 6 experts, {count} of them measured: ")
        expect(page.locator("#experts-title")).to_have_text(f"{count} expert{'s' if count > 1 else ''} of this tile in INT4_G64")
    drawn(page, f"/models/parted/sensitivity?setting={one}&format=INT4_G64&layer={UP_PROJ.format(2)}")
    expect(page.locator("#curves .empty")).to_be_visible()
    expect(page.locator("#expert option:checked")).to_have_text(f"{UP_PROJ.format(2)} · not measured")
    page.get_by_label("beside").select_option(whole)
    expect(page.locator("#agreement")).to_contain_text("5 tiles in INT4_G64")
    expect(page.locator("#agreement")).to_contain_text("In 1 of them one measurement has more of the experts")
    watched.refusals = (500,)
    page.route(f"**/sensitivity?setting={pair}", lambda route: route.fulfill(status=500, json={"detail": "not now"}))
    page.get_by_label("beside").select_option(pair)
    expect(page.locator("#notice")).to_have_text("not now")
    expect(page.locator("#agreement")).to_have_text("")
    expect(page.locator("#comparison svg")).to_have_count(0)
    page.get_by_role("button", name="Save parted-comparison as CSV").click()
    expect(page.locator("#notice")).to_contain_text("no numbers")
