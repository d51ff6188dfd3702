"""Every control has a name for a screen reader, and whoever goes by the keyboard sees where they are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page

from planner.storage.database import Database
from tests.api.serving import serve
from tests.planner.services.evaluated_plans import evaluated, made
from tests.web.chromium import Watched, watched_page

CONTROLS: Final = {
    *("button", "link", "textbox", "searchbox", "combobox", "listbox", "spinbutton", "slider", "checkbox", "radio", "switch"),
    *("Date", "DisclosureTriangle", "dialog", "image", "img", "progressbar"),
}  # fmt: skip
STUDIO: Final = "pin=*.k_proj%3DINT6_G64&rules=%7B%22caution%22%3A1%7D&context=512&resident_bytes=3000000"
WHOLE: Final = {
    **dict.fromkeys(("sensitivity", "frontier"), "body[data-drawn]"),
    "studio": "body[data-frontier]",
    "plan": "button.retarget",
    "diff": "#changed-layers",
}
"""What a page has once all of it is there."""

_FOCUSED: Final = """() => {
  const element = document.activeElement;
  const style = getComputedStyle(element);
  const rect = element.querySelector("rect");
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  const outlined = rect !== null && parseFloat(getComputedStyle(rect).strokeWidth) >= 2;
  return [element === document.body ? null : element.id || element.outerHTML.slice(0, 90), ring || outlined];
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A service, and its pages by a name for each kind."""
    folder: Path = tmp_path_factory.mktemp("names")
    with serve(folder, blocks=2) as served:
        database = Database(f"sqlite:///{folder / 'bitplan.db'}")
        with database.session() as session:
            plan, other = made(session), made(session, budget={"effective_bits": 5.25}, floors={"*.q_proj": 4})
            evaluated(session, plan, {"plan": 0.1})
        database.close()
        job = served.client.post("/v1/jobs", json={"model": "toy", "probe": "weight_error", "formats": ["INT4_G64"]}).json()["id"]
        yield {
            "": str(served.client.base_url).rstrip("/"),
            "models": "/",
            "overview": "/models/toy",
            "sensitivity": "/models/toy/sensitivity",
            "studio": f"/models/toy/studio?{STUDIO}",
            "frontier": "/models/toy/frontier",
            "plans": "/plans",
            "plan": f"/plans/{other.id}",
            "diff": f"/plans/{plan.id}/diff/{other.id}",
            "jobs": "/jobs?model=toy",
            "job": f"/jobs/{job}",
            "api": "/docs",
            "sign-in": "/sign-in",
        }


@pytest.fixture
def watched(browser: Browser, address: dict[str, str]) -> Iterator[Watched]:
    with watched_page(browser, address[""]) as opened:
        yield opened
        assert opened.faults == []


def controls(page: Page) -> list[tuple[str, str]]:
    """Role and name of every control, as Chromium tells a screen reader."""
    nodes: list[dict[str, Any]] = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    found = [
        (str(node["role"]["value"]), str(node.get("name", {}).get("value", "")))
        for node in nodes
        if not node["ignored"] and "role" in node
    ]
    return [(role, name) for role, name in found if role in CONTROLS]


def test_every_control_has_a_name(watched: Watched, address: dict[str, str]) -> None:
    page, nameless = watched.page, dict[str, list[str]]()
    for name, path in address.items():
        if not name:
            continue
        page.goto(path)
        page.wait_for_selector(WHOLE.get(name, "main"), state="attached")
        page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
        found = controls(page)
        assert len(found) > 3
        nameless[name] = [role for role, said in found if not said.strip()]
    assert {name: roles for name, roles in nameless.items() if roles} == {}


@pytest.mark.parametrize("kind", ["studio", "frontier", "plan"])
def test_all_of_a_page_is_reached_by_the_keyboard_and_seen(watched: Watched, address: dict[str, str], kind: str) -> None:
    page = watched.page
    page.goto(address[kind])
    page.wait_for_selector(WHOLE[kind], state="attached")
    seen: list[str] = []
    for _ in range(200):
        page.keyboard.press("Tab")
        where, ring = page.evaluate(_FOCUSED)
        if where is None or where in seen[:1]:
            break
        assert ring, f"no ring around {where}"
        seen.append(where)
    wanted = {
        "studio": {"amount", "unit", "slider", "keep", "curl", "runtime", "setting", "context", "batch"},
        "frontier": set[str](),
        "plan": {"curl", "pin", "delete"},
    }[kind]
    assert wanted <= set(seen)
    assert len(seen) > 20
