"""Frontiers and stored plans in the browser: what is drawn is what the service answers, and plans can be worked with."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from planner.storage.database import Database
from tests import synthetic
from tests.api.serving import Served, serve
from tests.planner.services.evaluated_plans import evaluated, made
from tests.web.chromium import PHONE, Watched, watched_page

BLOCKS = 4
LAYERS = 7 * BLOCKS


@dataclass(frozen=True, slots=True)
class Kept:
    """A service with stored plans.

    Attributes:
        served: the service.
        address: of it.
        plans: ids of two plans of the toy, the first one evaluated beside a uniform format.
        larger: name of another evaluated model.
    """

    served: Served
    address: str
    plans: tuple[str, str]
    larger: str

    def get(self, path: str, **parameters: str) -> Any:
        return self.served.client.get(path, params=parameters).raise_for_status().json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.served.client.post(path, json=body).raise_for_status().json()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    folder: Path = tmp_path_factory.mktemp("plans")
    with serve(folder, blocks=BLOCKS) as served:
        database = Database(f"sqlite:///{folder / 'bitplan.db'}")
        described = synthetic.description(name="larger", blocks=BLOCKS, hidden=512)
        with database.session() as session:
            plan, other = made(session), made(session, budget={"effective_bits": 5.25})
            evaluated(
                session, plan, {"plan": 1.1 * plan.predicted.loss, plan.references[0].label: 3 * plan.predicted.loss}, error=0.05
            )
            synthetic.add_model(session, described)
            calibration = plan.provenance.calibration
            synthetic.add_cells(session, described, synthetic.setting(calibration))
            evaluated(session, made(session, model="larger"), {"plan": 0.1})
        database.close()
        yield Kept(served, str(served.client.base_url).rstrip("/"), (plan.id, other.id), "larger")


@pytest.fixture
def watched(browser: Browser, kept: Kept) -> Iterator[Watched]:
    """A page of this service; the test fails if it did what it should not do."""
    with watched_page(browser, kept.address, refusals=(422,)) as opened:
        yield opened
        assert opened.faults == []


def opened(page: Page, path: str) -> None:
    page.goto(path)
    page.wait_for_selector("body[data-drawn]")


def again(page: Page, act: Any) -> None:
    """Do something, and wait until the picture is drawn anew."""
    count = page.evaluate("document.body.dataset.drawn")
    act()
    page.wait_for_selector(f'body[data-drawn]:not([data-drawn="{count}"])')


def test_the_frontier_is_drawn_with_its_knee_uniform_formats_and_measurements(watched: Watched, kept: Kept) -> None:
    page = watched.page
    opened(page, "/models/toy/frontier")
    found = kept.post("/v1/frontiers", {"model": "toy", "points": 60, "proven": True})
    positive = [point for point in found["points"] if point["predicted_loss"] > 0]
    assert page.locator("#picture .points circle").count() == len(positive)
    assert page.locator("#picture .knee circle").count() == 1
    assert page.locator("#picture .uniforms path").count() == sum(one["predicted_loss"] > 0 for one in found["uniforms"])
    assert page.locator("#picture .measured-plans circle").count() == 1
    assert page.locator("#picture .measured-uniforms circle").count() == 1
    assert page.locator("#picture .error-bars path").count() == 2
    knee = found["points"][found["knee"]]
    assert f"{knee['effective_bits']:.2f} bits a weight" in page.inner_text("#knee")
    assert "Every point is proven best" in page.inner_text("#knee")
    page.click("#table-of-points summary")
    assert page.locator("#points tbody tr").count() == len(found["points"])
    with page.expect_download() as download:
        page.click("text=CSV")
    saved = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert [float(row["predicted_loss"]) for row in saved] == [point["predicted_loss"] for point in found["points"]]


def test_a_point_opens_the_studio_and_a_measurement_its_plan(watched: Watched, kept: Kept) -> None:
    page = watched.page
    opened(page, "/models/toy/frontier?runtime=vllm&formats=INT4_G64,INT8_G64")
    point = page.locator("#picture .points a").nth(20)
    point.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/studio?**")
    for part in ("runtime=vllm", "formats=INT4_G64%2CINT8_G64", "file_bytes="):
        assert part in page.url
    opened(page, "/models/toy/frontier")
    page.locator("#picture .measured-plans a").click()
    page.wait_for_url(f"**/plans/{kept.plans[0]}")


def test_the_controls_ask_anew_and_the_address_keeps_them(watched: Watched, kept: Kept) -> None:
    page = watched.page
    opened(page, "/models/toy/frontier")
    again(page, lambda: page.select_option("select[name=runtime]", "vllm"))
    again(page, lambda: page.select_option("select[name=size]", "resident_bytes"))
    page.fill("input[name=context]", "4096")
    again(page, lambda: page.press("input[name=context]", "Tab"))
    found = kept.post("/v1/frontiers", {"model": "toy", "runtime": "vllm", "context": 4096, "points": 60, "proven": True})
    assert f"{found['points'][found['knee']]['effective_bits']:.2f} bits" in page.inner_text("#knee")
    assert "memory with the KV cache" in page.inner_text("#picture")
    for part in ("runtime=vllm", "size=resident_bytes", "context=4096"):
        assert part in page.url
    page.reload()
    page.wait_for_selector("body[data-drawn]")
    assert page.input_value("input[name=context]") == "4096"
    again(page, lambda: page.select_option("select[name=runtime]", "exllamav3"))
    assert "exllamav3" in page.inner_text("#problem")
    assert not page.is_visible("#picture")


def test_other_models_stand_beside_it(watched: Watched, kept: Kept) -> None:
    page = watched.page
    opened(page, "/models/toy/frontier")
    page.click("text=Other models")
    again(page, lambda: page.get_by_label(kept.larger).check())
    found = kept.post("/v1/families/frontier", {"models": ["toy", kept.larger], "limit": "file_bytes", "points": 60})
    most = max(model["reference_nll"] for model in found["models"]) + 1
    shown = [point for model in found["models"] for point in model["points"] if point["predicted_nll"] <= most]
    assert 0 < len(shown) == page.locator("#family-picture .points a").count()
    assert page.locator("#crossings li").count() == len(found["crossings"])
    assert kept.larger in page.inner_text("#family-picture")


def test_two_plans_are_ticked_and_compared(watched: Watched, kept: Kept) -> None:
    page = watched.page
    page.goto("/plans?model=toy")
    assert page.is_disabled("#compare")
    for plan in kept.plans:
        page.check(f'input.pick[value="{plan}"]')
    page.select_option("#filters select[name=runtime]", "generic")
    page.wait_for_url("**runtime=generic**")
    page.go_back()
    page.wait_for_url("**/plans?model=toy")
    expect(page.locator("input.pick:checked")).to_have_count(2)  # what is ticked outlives another page of the list
    page.click("#compare")
    page.wait_for_selector("#changed-layers")
    diff = kept.get(f"/v1/plans/{kept.plans[0]}/diff/{kept.plans[1]}")
    assert page.locator("#changed-layers tbody tr").count() == len(diff["changed"])
    strips = page.locator(".one-strip svg")
    assert [strips.nth(side).locator("g.tile").count() for side in (0, 1)] == [LAYERS, LAYERS]
    assert strips.nth(0).locator("g.tile.changed").count() == len(diff["changed"])


def test_a_tile_is_explained_and_layers_are_found(watched: Watched, kept: Kept) -> None:
    page = watched.page
    plan = kept.get(f"/v1/plans/{kept.plans[0]}")
    opened(page, f"/plans/{kept.plans[0]}")
    titles = page.eval_on_selector_all("#strip g.tile title", "titles => titles.map(title => title.textContent)")
    assert [title.split(": ")[1].split(",")[0] for title in titles] == [choice["format"] for choice in plan["choices"]]
    tile = page.locator("#strip g.tile").nth(3)
    tile.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#explanation[data-layer]")
    layer = plan["choices"][3]
    explained = kept.get(f"/v1/plans/{kept.plans[0]}/explain", layer=layer["layer"])
    text = page.inner_text("#explanation")
    assert f"{layer['layer']}: {layer['format']}" in text
    assert page.locator("#explanation tbody tr").count() == len(explained["groups"][0]["options"])
    assert explained["groups"][0]["flip"]["advice"] in text
    page.select_option("#layer-search select[name=kind]", "v_proj")
    page.wait_for_selector(f"#layers >> text={BLOCKS} that match")
    page.fill("#layer-search input[name=text]", "layers.2.")
    page.wait_for_selector("#layers >> text=1 that match")
    page.click("#layers button.explain")
    page.wait_for_selector('#explanation[data-layer="model.layers.2.self_attn.v_proj"]')


def test_a_plan_is_named_pinned_exported_and_planned_for_another_runtime(watched: Watched, kept: Kept) -> None:
    page, plan = watched.page, kept.plans[1]
    opened(page, f"/plans/{plan}")
    page.fill("#name input[name=name]", "production")
    page.fill("#name input[name=why]", "it is better")
    page.click("text=Give this name")
    page.wait_for_selector(".names >> text=it is better")
    page.wait_for_load_state()  # a page whose scripts have not run hears no press
    page.click("#pin")
    page.wait_for_selector("#unpin")
    page.wait_for_load_state()
    assert kept.get("/v1/models/toy/plan-names/production")["plan"] == plan
    assert page.locator("#delete").count() == 0
    with page.expect_download() as download:
        page.click("a.export >> text=compressed-tensors")
    assert json.loads(Path(download.value.path()).read_text()) == kept.get(
        f"/v1/plans/{plan}/export", target="compressed-tensors"
    )
    page.click('button.retarget[data-runtime="exllamav3"]')
    page.wait_for_selector("#notice:not([hidden])")
    assert "takes none of the formats" in page.inner_text("#notice")
    page.click('button.retarget[data-runtime="vllm"]')
    page.wait_for_url(f"**/plans/{plan}/diff/*")
    assert "layers that share a format now had several" in page.inner_text("#reasons")
    made_id = page.url.rpartition("/")[2]
    assert kept.get(f"/v1/plans/{made_id}")["runtime"] == "vllm"
    opened(page, f"/plans/{plan}")
    page.click("#unpin")
    page.wait_for_selector("#pin")
    page.wait_for_load_state()
    page.click("text=Take away")
    page.wait_for_selector("#delete")


def test_a_plan_is_measured_from_its_page(watched: Watched, kept: Kept) -> None:
    page, plan = watched.page, kept.plans[1]
    opened(page, f"/plans/{plan}")
    page.locator("#evaluate button").focus()
    page.wait_for_selector("#forecast:not(:empty)")
    page.click("text=Measure this plan")
    page.wait_for_url("**/jobs/*")
    job = kept.get(f"/v1/jobs/{page.url.rpartition('/')[2]}")
    assert (job["kind"], job["request"]["plan_id"]) == ("evaluation", plan)


def test_pages_of_plans_fit_a_phone(browser: Browser, kept: Kept) -> None:
    first, second = kept.plans
    with watched_page(browser, kept.address, size=PHONE, dark=True) as watched:
        for path, last in (
            (f"/plans/{first}", "button.retarget"),
            (f"/plans/{first}/diff/{second}", "#changed-layers"),
            ("/plans", "table"),
        ):
            watched.page.goto(path)
            watched.page.wait_for_selector(last)
            assert watched.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    assert watched.faults == []


ASKED: dict[str, Any] = {
    "floors": {"*.down_proj": 4},
    "ceilings": {"*": 8},
    "menus": {"*.q_proj": ["INT4_G64", "INT8_G64"]},
    "ignore": ["*lm_head"],
    "counts": [{"above_bits": 6, "at_most": 2}],
    "caution": 1.0,
    "pins": {"model.layers.1.self_attn.k_proj": "INT6_G64"},
    "experts": "block",
    "shrinkage": False,
    "step_errors": 1.0,
}


def previewed(page: Page, act: Callable[[], Any]) -> dict[str, Any]:
    """What the studio asks for when something is done."""
    with page.expect_request("**/v1/plans/preview*") as asked:
        act()
    body: dict[str, Any] = json.loads(asked.value.post_data or "")
    return body


def test_a_plan_opens_in_the_studio_with_all_that_it_was_asked_with(watched: Watched, kept: Kept) -> None:
    page = watched.page
    budget = {"file_bytes": 1_700_000, "bit_operations": 2**50, "prefill_seconds": 100, "device": "l4", "context": 512}
    plan = kept.post("/v1/plans", {"model": "toy", "budget": budget, **ASKED})
    opened(page, f"/plans/{plan['id']}")
    body = previewed(page, lambda: page.click("text=Open in the studio"))
    page.wait_for_selector("body[data-drawn]")
    assert {name: body.get(name) for name in ASKED} == ASKED
    assert body["budget"] == budget | {"batch": 1}
    preview = kept.post("/v1/plans/preview", body)
    assert [preview["formats"][column] for column in preview["choices"]] == [choice["format"] for choice in plan["choices"]]
    told = page.locator("#rules button")
    assert told.all_inner_texts() == [
        "*lm_head is left unquantized ✕",
        "*.down_proj: at least 4 bits ✕",
        "*: at most 8 bits ✕",
        "*.q_proj: INT4_G64 or INT8_G64 ✕",
        "a change has to be better by 1 standard errors ✕",
        "losses as they were measured, without shrinkage ✕",
        "at most 2 layers in formats of more than 6 bits ✕",
        "plans for the loss + 1 × its standard error ✕",
        "a prompt within 100000 ms ✕",
        "at most 1.126e+15 bit-operations ✕",
    ]
    page.wait_for_selector("body[data-frontier]")  # of the same curves and rules
    body = previewed(page, lambda: told.get_by_text("at least 4 bits").click())
    assert "floors" not in body
    body = previewed(page, page.reload)
    assert {name: body.get(name) for name in ASKED} == ASKED | {"floors": None}


def test_what_the_studio_cannot_ask_is_told_by_name(watched: Watched, kept: Kept) -> None:
    page = watched.page
    plan = kept.post("/v1/plans", {"model": "toy", "budget": {"max_loss": 0.05}})
    opened(page, f"/plans/{plan['id']}")
    body = previewed(page, lambda: page.click("text=Open in the studio"))
    assert body["budget"] == {"file_bytes": plan["size"]["file_bytes"]}
    assert "not asked here" in page.inner_text("#rules")
    assert "loses no more than 0.05" in page.inner_text("#rules")
    for unread in ("{nonsense", "[1]", "7", '{"budget":5}', '{"budget":null}'):
        opened(page, f"/models/toy/studio?effective_bits=4&rules={unread}")
        assert "cannot be read" in page.inner_text("#rules")
        assert page.locator("#rules button").count() == 0
    for refused in ('{"counts":[null]}', '{"floors":5}', '{"menus":{"*":null}}', '{"budget":{"pool_bytes":"x"}}', '{"x":[{}]}'):
        page.goto(f"/models/toy/studio?effective_bits=4&rules={refused}")
        page.wait_for_selector("body[data-refused]")
        page.click("#rules button")
        page.wait_for_selector("body[data-drawn]")


def test_a_second_press_starts_nothing(watched: Watched, kept: Kept) -> None:
    page, plan = watched.page, kept.plans[0]
    opened(page, f"/plans/{plan}")
    asked: list[Route] = []
    page.route(f"**/plans/{plan}/exports/*", lambda route: asked.append(route))  # noqa: PLW0108  (playwright marks its handlers)
    link = page.locator("a.export").first
    words = link.inner_text()
    with page.expect_request("**/exports/*"):
        link.click()
    link.click()
    link.click()
    assert len(asked) == 1
    with page.expect_download():
        asked[0].continue_()
    expect(link).to_have_text(words)
    page.unroute(f"**/plans/{plan}/exports/*")
    pins: list[Route] = []
    page.route("**/pin", lambda route: pins.append(route))  # noqa: PLW0108  (as above)
    page.dblclick("#pin")
    page.wait_for_timeout(50)
    assert len(pins) == 1
    pins[0].abort()
    expect(page.locator("#keeping-problem")).to_contain_text("does not answer")


def test_an_older_explanation_never_replaces_a_newer_one_and_closing_goes_back(watched: Watched, kept: Kept) -> None:
    page = watched.page
    opened(page, f"/plans/{kept.plans[0]}")
    held: list[Route] = []
    page.route("**/explain?*", lambda route: held.append(route) if not held else route.continue_())
    buttons = page.locator("#layers button.explain")
    buttons.nth(0).click()
    buttons.nth(1).press("Enter")
    newest = buttons.nth(1).get_attribute("data-layer")
    page.wait_for_selector(f'#explanation[data-layer="{newest}"]')
    held[0].continue_()
    page.wait_for_timeout(100)
    assert page.get_attribute("#explanation", "data-layer") == newest
    assert page.evaluate("document.activeElement.id") == "explanation"
    page.click("#explanation .shut")
    assert page.evaluate("document.activeElement.dataset.layer") == newest


def test_what_is_not_drawn_yet_is_not_saved(watched: Watched) -> None:
    page = watched.page
    held: list[Route] = []
    page.route("**/v1/plans/preview*", lambda route: held.append(route))  # noqa: PLW0108  (as above)
    page.goto("/models/toy/studio")
    for ending, missing in (("SVG", "no picture"), ("PNG", "no picture"), ("CSV", "no numbers")):
        page.click(f'button[aria-label="Save toy-loss-by-size as {ending}"]')
        expect(page.locator("#notice")).to_contain_text(missing)
    page.unroute("**/v1/plans/preview*")


def test_the_curve_of_an_older_question_is_given_up(watched: Watched) -> None:
    page = watched.page
    held: list[Route] = []
    page.route("**/v1/frontiers", lambda route: held.append(route) if not held else route.continue_())
    with page.expect_request("**/v1/frontiers"):
        opened(page, "/models/toy/studio?effective_bits=4")
    with page.expect_event("requestfailed", lambda request: request == held[0].request):
        page.select_option("#runtime", "vllm")
    page.wait_for_selector("body[data-frontier]")


def test_a_plan_page_that_is_come_back_to_offers_its_buttons_again(watched: Watched, kept: Kept) -> None:
    page, plan = watched.page, kept.plans[0]
    opened(page, f"/plans/{plan}")
    held: list[Route] = []
    page.route("**/retarget", lambda route: held.append(route))  # noqa: PLW0108  (as above)
    button = page.locator("button.retarget").first
    with page.expect_request("**/retarget"):
        button.click()
    expect(button).to_be_disabled()
    page.evaluate("window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    expect(button).to_be_enabled()
