"""Tiles in the browser: all pictures have the same rows, layers of one kind are tiles apart, a pin meets its tile alone."""

import glob
import re
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from planner.storage.database import Database
from sensitivity.checkpoint.reading import describe
from tests import synthetic, tiny_models
from tests.api.serving import Served, serve_database
from tests.web.chromium import Watched, watched_page

GPT2_ROWS = ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"]
MIXED_ROWS = [
    *("q_proj", "k_proj", "v_proj", "o_proj"),
    *(f"mlp.{kind}" for kind in ("gate_proj", "up_proj", "down_proj")),
    *(f"shared_expert.{kind}" for kind in ("gate_proj", "up_proj", "down_proj")),
    *(f"experts.{kind}" for kind in ("gate_proj", "up_proj", "down_proj")),
]
EXPERTS = 4
ODD = "model.layers.0.self_attn[a].q*?_proj"
"""A name that would mean other layers if it were read as a pattern."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that knows a GPT-2 of twelve blocks, and a mixture: its first block is dense, others share an expert."""
    folder: Path = tmp_path_factory.mktemp("tiles")
    checkpoints = {
        "gpt2": tiny_models.tiny_gpt2(folder / "gpt2", blocks=12, hidden=32),
        "mixed": tiny_models.tiny_qwen2_moe(folder / "mixed", blocks=3, experts=EXPERTS),
    }
    url = f"sqlite:///{folder / 'bitplan.db'}"
    database = Database(url)
    database.upgrade()
    for path in checkpoints.values():
        described = describe(str(path))
        with database.session() as session:
            synthetic.add_model(session, described)
            synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
    odd = synthetic.description(blocks=1, name="odd", head=False)
    renamed = replace(odd, layers=(replace(odd.layers[0], name=ODD), *odd.layers[1:]))
    with database.session() as session:
        synthetic.add_model(session, renamed)
        synthetic.add_cells(session, renamed, synthetic.setting(synthetic.add_calibration(session)))
    database.close()
    with serve_database(folder, url) as running:
        yield running


@pytest.fixture
def watched(browser: Browser, served: Served) -> Iterator[Watched]:
    """A page of this service; the test fails if it did what it should not do."""
    with watched_page(browser, str(served.client.base_url).rstrip("/")) as opened:
        yield opened
        assert opened.faults == []


def opened(page: Page, path: str) -> None:
    page.goto(path)
    page.wait_for_selector("body[data-drawn]")


def names(page: Page) -> list[str]:
    """What the tiles of the first strip are called."""
    titles: list[str] = page.eval_on_selector_all("svg.strip >> nth=0 >> g.tile title", "all => all.map(one => one.textContent)")
    return [title.partition(":")[0] for title in titles]


def rows(page: Page) -> list[str]:
    """Rows of the first strip, as they are labelled."""
    return page.locator("svg.strip").first.locator(".kinds text").all_text_contents()


def kept(served: Served, **request: Any) -> dict[str, Any]:
    answer = served.client.post("/v1/plans", json={"budget": {"effective_bits": 4.5}, "allow_slack": True} | request)
    assert answer.status_code < 300, answer.text
    plan: dict[str, Any] = answer.json()
    return plan


def test_every_picture_of_a_gpt2_has_a_row_for_each_of_its_layers(watched: Watched, served: Served) -> None:
    page = watched.page
    opened(page, "/models/gpt2/studio?effective_bits=4.5")
    assert rows(page) == GPT2_ROWS
    expected = [f"{row} of block {block}" for block in range(12) for row in GPT2_ROWS]
    assert names(page) == expected
    changes = page.locator("#upgrades td:first-child").all_text_contents()
    assert changes
    assert all(re.fullmatch(rf"({'|'.join(map(re.escape, GPT2_ROWS))}) of block \d+", change) for change in changes)
    plan, other = kept(served, model="gpt2"), kept(served, model="gpt2", budget={"effective_bits": 6})
    for path in (f"/plans/{plan['id']}", f"/plans/{plan['id']}/diff/{other['id']}"):
        page.goto(path)
        page.wait_for_selector("svg.strip g.tile")
        assert (rows(page), names(page)) == (GPT2_ROWS, expected)
    opened(page, "/models/gpt2/sensitivity?format=INT4_G64&layer=transformer.h.11.mlp.c_proj")
    assert page.locator('#map g[aria-label="y-axis tick label"] text').all_text_contents() == GPT2_ROWS
    assert page.locator('#map g[aria-label="cell"] rect').count() == len(expected)
    expect(page.locator("#chosen")).to_contain_text("mlp.c_proj of block 11: ")
    page.locator("#map").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#chosen")).to_contain_text("attn.c_proj of block 11: ")
    expect(page.locator("#curves-title")).to_have_text("Error curve of transformer.h.11.attn.c_proj")
    assert page.locator("#curves .neighbours path").count() == 11 * 2


@pytest.mark.parametrize(
    ("model", "tile", "layers"),
    [
        ("gpt2", "mlp.c_proj of block 1", ["transformer.h.1.mlp.c_proj"]),
        ("mixed", "mlp.up_proj of block 0", ["model.layers.0.mlp.up_proj"]),
        ("mixed", "shared_expert.up_proj of block 1", ["model.layers.1.mlp.shared_expert.up_proj"]),
        (
            "mixed",
            f"experts.up_proj of block 1, {EXPERTS} experts",
            [f"model.layers.1.mlp.experts.{expert}.up_proj" for expert in range(EXPERTS)],
        ),
    ],
)
def test_a_pin_meets_exactly_the_layers_of_its_tile(
    watched: Watched, served: Served, model: str, tile: str, layers: list[str]
) -> None:
    page = watched.page
    opened(page, f"/models/{model}/studio?effective_bits=5")
    assert rows(page) == (GPT2_ROWS if model == "gpt2" else MIXED_ROWS)
    page.locator("#strip g.tile").filter(has=page.get_by_text(re.compile(f"^{re.escape(tile)}:"))).click()
    assert page.inner_text("#pin-title") == tile
    count = page.evaluate("document.body.dataset.drawn")
    page.click('#pin-formats button[value="pin INT2_G64"]')
    page.wait_for_selector(f'body[data-drawn]:not([data-drawn="{count}"])')
    expect(page.locator("#strip g.tile.pinned")).to_have_count(1)
    expect(page.locator("#strip g.tile.pinned title")).to_contain_text(f"{tile}: INT2_G64")
    pattern = page.inner_text("#pins button").partition(" = ")[0]
    plan = kept(served, model=model, pins={pattern: "INT2_G64"}, budget={"effective_bits": 5})
    assert [choice["layer"] for choice in plan["choices"] if fnmatchcase(choice["layer"], pattern)] == layers


def test_a_tile_of_experts_lists_its_layers_alone(watched: Watched, served: Served) -> None:
    page = watched.page
    page.goto(f"/plans/{kept(served, model='mixed')['id']}")
    page.locator("#strip g.tile").filter(has=page.get_by_text(re.compile("^experts.down_proj of block 2,"))).click()
    layers = [f"model.layers.2.mlp.experts.{expert}.down_proj" for expert in range(EXPERTS)]
    expect(page.locator("#layers tbody td:first-child")).to_have_text(layers)


def test_arrows_cross_what_a_block_does_not_have(watched: Watched) -> None:
    page = watched.page
    opened(page, "/models/mixed/studio?effective_bits=5")
    page.locator("#strip g.tile").filter(has=page.get_by_text(re.compile("^o_proj of block 1:"))).focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("#strip g.tile:focus title").text_content() == page.locator("#strip g.tile:focus").get_attribute(
        "aria-label"
    )
    expect(page.locator("#strip g.tile:focus title")).to_contain_text("shared_expert.gate_proj of block 1:")


def test_a_name_with_wildcards_is_a_name(watched: Watched, served: Served) -> None:
    page = watched.page
    page.goto(f"/plans/{kept(served, model='odd')['id']}")
    page.locator("#strip g.tile").first.click()
    expect(page.locator("#explanation")).to_have_attribute("data-layer", ODD)
    expect(page.locator("#explanation h3")).to_contain_text(f"{ODD}: ")
    page.click("#explanation .shut")
    page.locator("#layers button.explain").filter(has_text="q*?_proj").click()
    expect(page.locator("#explanation h3")).to_contain_text(f"{ODD}: ")
    opened(page, f"/models/odd/sensitivity?format=INT4_G64&layer={glob.escape(ODD).replace('?', '%3F')}")
    expect(page.locator("#curves-title")).to_have_text(f"Error curve of {ODD}")
    names = [ODD, "plain", "]a[", "[!x]", "[[]"]
    both = """async (names) => {
      const { patternOf, plainName } = await import("/static/js/patterns.js");
      return names.map((name) => [patternOf(name), plainName(patternOf(name))]);
    }"""
    assert page.evaluate(both, names) == [[glob.escape(name), name] for name in names]
    assert page.evaluate(both, ["x.[0-9]*.y"])[0][1] == "x.[0-9]*.y"
