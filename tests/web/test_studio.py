"""The plan studio: what is drawn is what the service answers, by mouse, keyboard and address."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.api.serving import Served, serve
from tests.web.chromium import Watched, watched_page

STUDIO = "/models/toy/studio"
LAYERS = 224


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service of its own, in which nobody else measures."""
    with serve(tmp_path_factory.mktemp("studio")) as running:
        yield running


def preview(served: Served, budget: dict[str, Any], **request: Any) -> dict[str, Any]:
    """What the service answers to the same question."""
    asked = {"model": "toy", "budget": budget, "allow_slack": True} | request
    answer = served.client.post("/v1/plans/preview", json=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def opened(page: Page, query: str = "") -> None:
    page.goto(f"{STUDIO}{query}")
    page.wait_for_selector("body[data-drawn]")


def drawn(page: Page) -> list[str]:
    """What every tile says."""
    titles: list[str] = page.eval_on_selector_all("#strip g.tile title", "titles => titles.map(title => title.textContent)")
    return titles


def said(plan: dict[str, Any]) -> list[str]:
    """What every tile should say: its name, its format, its bits."""
    return [f"{tile['name']}: {next(iter(tile['formats']))}, {round(tile['bits'], 2):g} bits" for tile in plan["tiles"]]


def query_of(page: Page) -> str:
    return page.url.partition("?")[2]


def after(page: Page, move: str, *arguments: Any) -> None:
    """Do something, and wait until another plan is drawn."""
    count = page.evaluate("document.body.dataset.drawn")
    getattr(page, move)(*arguments)
    page.wait_for_selector(f'body[data-drawn]:not([data-drawn="{count}"])')


def test_the_address_opens_a_budget_and_every_layer_is_drawn_with_its_format(watched: Watched, served: Served) -> None:
    plan = preview(served, {"file_bytes": 11_000_000})
    opened(watched.page, "?file_bytes=11000000")
    tiles = drawn(watched.page)
    assert len(tiles) == LAYERS
    assert tiles == said(plan)
    assert watched.page.input_value("#amount") == "11"
    facts = watched.page.inner_text("#facts")
    assert f"{plan['predicted']['loss']:.3g}" in facts
    assert "proven best" in facts
    assert "bytes of the file" in facts
    best = min((point for point in plan["references"] if point["fits"]), key=lambda point: point["loss"])
    assert best["label"] in watched.page.inner_text("#verdict")
    counts = watched.page.inner_text("#counts")
    total = sum(int(number) for number in re.findall(r": (\d+) layer", counts))
    assert total == LAYERS


def test_a_studio_without_a_budget_begins_between_the_smallest_and_the_largest_plan(watched: Watched) -> None:
    opened(watched.page)
    assert re.fullmatch(r"file_bytes=\d+", query_of(watched.page))
    assert "4.50 effective bits" in watched.page.inner_text("#ratio")
    watched.page.wait_for_selector("body[data-frontier]")
    assert watched.page.locator('#beside g[aria-label="dot"] circle').count() == 7  # uniform formats that lose anything
    assert watched.page.locator("#references tbody tr").count() == 9


def test_dragging_replans_and_the_address_reopens_the_plan(watched: Watched, served: Served) -> None:
    page = watched.page
    opened(page)
    begun = page.url
    box = page.locator("#slider").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2, steps=8)
    page.mouse.up()
    page.wait_for_url(lambda url: url != begun)
    size = int(re.findall(r"file_bytes=(\d+)", query_of(page))[0])
    page.wait_for_selector(f'body[data-shown="{size}"]')
    plan = preview(served, {"file_bytes": size})
    assert drawn(page) == said(plan)
    assert plan["size"]["file_bytes"] <= size
    page.reload()
    page.wait_for_selector(f'body[data-shown="{size}"]')
    assert drawn(page) == said(plan)


def test_a_tile_is_pinned_by_the_keyboard_and_set_free_again(watched: Watched, served: Served) -> None:
    page = watched.page
    opened(page, "?effective_bits=4.25")
    page.focus('#strip g.tile[tabindex="0"]')
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    assert page.inner_text("#pin-title") == "k_proj of block 2"
    page.focus('#pin-formats button[value="pin INT8_G64"]')
    after(page, "press", ":focus", "Enter")
    pins = {"model.layers.2.self_attn.k_proj": "INT8_G64"}
    assert drawn(page) == [
        f"{text}, pinned" if text.startswith("k_proj of block 2:") else text
        for text in said(preview(served, {"effective_bits": 4.25}, pins=pins))
    ]
    assert page.locator("#strip g.tile.pinned").count() == 1
    assert "pin=model.layers.2.self_attn.k_proj%3DINT8_G64" in query_of(page)
    after(page, "click", "#pins button")
    assert drawn(page) == said(preview(served, {"effective_bits": 4.25}))
    assert "pin=" not in query_of(page)
    assert page.locator("#pins button").count() == 0


def test_units_formats_runtimes_and_further_limits_are_part_of_the_question(watched: Watched, served: Served) -> None:
    page = watched.page
    opened(page, "?effective_bits=5")
    after(page, "select_option", "#runtime", "vllm")
    assert drawn(page) == said(preview(served, {"effective_bits": 5}, runtime="vllm"))
    after(page, "select_option", "#runtime", "mlx")
    page.click("#menu summary")
    assert page.is_disabled('#formats input[value="FP8"]')
    assert page.inner_text("#menu-count") == "7 of 7"
    after(page, "uncheck", '#formats input[value="INT8_G64"]')
    assert "INT8_G64" not in " ".join(drawn(page))
    after(page, "check", '#formats input[value="INT8_G64"]')
    assert "formats=" not in query_of(page)
    after(page, "select_option", "#runtime", "generic")
    page.fill("#context", "4096")
    after(page, "press", "#context", "Enter")
    after(page, "select_option", "#unit", "decode_seconds")
    limits = preview(served, {"decode_seconds": 1.0, "device": page.input_value("#device"), "context": 4096})["limits"]
    assert limits[0]["least"] < float(re.findall(r"decode_seconds=([\d.e-]+)", query_of(page))[0]) < limits[0]["most"]
    assert "what binds\nms a token" in page.inner_text("#facts")
    page.click("#more summary")
    page.fill("#limits label:has-text('effective bits') input", "3")
    after(page, "press", "#limits label:has-text('effective bits') input", "Enter")
    assert "what binds\neffective bits" in page.inner_text("#facts")


def test_a_budget_under_the_floor_says_the_floor_and_takes_it(browser: Browser, served: Served) -> None:
    with watched_page(browser, str(served.client.base_url).rstrip("/"), refusals=(422,)) as watched:
        page = watched.page
        opened(page, "?effective_bits=4")
        page.fill("#amount", "1.5")
        page.press("#amount", "Enter")
        page.wait_for_selector("#problem:not([hidden])")
        assert "the least feasible is 2.25 effective bits" in page.inner_text("#problem")
        assert page.is_disabled("#keep")
        after(page, "click", "#take-floor")
        assert page.is_hidden("#problem")
        assert page.input_value("#amount") == "2.25"
        page.goto(f"{STUDIO}?effective_bits=4&runtime=vllm&pin=*.q_proj=INT4_G64&pin=*.k_proj=INT8_G64")
        page.wait_for_selector("#problem:not([hidden])")
        assert "Tied layers must share one format" in page.inner_text("#problem")
        after(page, "click", "#pins button >> nth=0")
        assert page.is_hidden("#problem")
    assert watched.faults == []


def test_a_plan_is_kept_and_copied_as_a_request(watched: Watched, served: Served) -> None:
    page = watched.page
    opened(page, "?effective_bits=4.75&pin=*.o_proj=INT6_G64")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#curl")
    page.wait_for_selector("#curl:has-text('Copied')")
    command = page.evaluate("navigator.clipboard.readText()")
    body = json.loads(re.findall(r"-d '(.*)'$", command)[0])
    assert command.startswith(f"curl -s '{watched.address}/v1/plans'")
    page.click("#keep")
    page.wait_for_url("**/plans/*")
    plan = served.client.get(f"/v1/plans/{page.url.rpartition('/')[2]}").json()
    again = served.client.post("/v1/plans", json=body).json()
    assert again["choices"] == plan["choices"]


def test_an_unknown_model_is_a_page_of_its_own(browser: Browser, served: Served) -> None:
    with watched_page(browser, str(served.client.base_url).rstrip("/"), refusals=(404,)) as watched:
        watched.page.goto("/models/nobody/studio")
        assert "nobody" in watched.page.inner_text("main")
    assert watched.faults == []


def test_a_plan_cannot_be_kept_before_there_is_one(watched: Watched) -> None:
    page = watched.page
    held: list[Route] = []
    page.route("**/v1/plans/preview*", lambda route: held.append(route))  # noqa: PLW0108  (playwright marks its handlers)
    with page.expect_request("**/v1/plans/preview*"):
        page.goto(STUDIO)
    page.wait_for_selector("#keep:disabled")
    assert all(page.is_disabled(f"#{name}") for name in ("slider", "amount", "curl", "keep"))
    assert held
    page.unroute("**/v1/plans/preview*")  # what is held goes on
    page.wait_for_selector("body[data-drawn]")
    assert not any(page.is_disabled(f"#{name}") for name in ("slider", "amount", "curl", "keep"))


def test_a_menu_without_a_format_is_the_whole_menu(watched: Watched) -> None:
    page = watched.page
    opened(page, "?effective_bits=4.5&formats=INT4_G64")
    page.evaluate("document.querySelector('#formats').closest('details').open = true")
    after(page, "click", "#formats input[value='INT4_G64']")
    assert page.locator("#formats input:checked").count() == 8


def test_a_refused_curve_is_not_asked_again_and_wipes_no_other_notice(watched: Watched) -> None:
    page, answers = watched.page, [422, 503, 200]
    watched.refusals = (422, 503)
    asked: list[int] = []

    def answer(route: Route) -> None:
        asked.append(answers[len(asked)])
        if asked[-1] == 200:
            route.continue_()
        else:
            route.fulfill(status=asked[-1], json={"detail": f"status {asked[-1]}"})

    page.route("**/v1/frontiers", answer)
    opened(page, "?effective_bits=4.5")
    notice = page.locator("#notice")
    expect(notice).to_contain_text("status 422")
    for _ in range(3):
        after(page, "press", "#slider", "ArrowRight")
    assert asked == [422]
    expect(notice).to_contain_text("status 422")
    after(page, "select_option", "#runtime", "vllm")  # another question
    expect(notice).to_contain_text("status 503")
    page.evaluate("document.querySelector('#notice').textContent = 'something else'")
    after(page, "press", "#slider", "ArrowRight")
    page.wait_for_selector("body[data-frontier]")
    assert asked == answers
    expect(notice).to_have_text("something else")
