"""How long the plan studio takes from the release of its slider to the redrawn picture, measured in the browser.

The service is a uvicorn process of its own, the slider is dragged by a mouse or moved by an arrow key that is held, and the clock
is the browser's: from the time stamp of the release to the message after the frame in which the new plan is painted.
"""

import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page

from planner.storage.database import Database
from sensitivity.checkpoint.description import Layer
from tests import synthetic
from tests.api.serving import serve
from tests.benchmarks.goals import Goal
from tests.web.chromium import chromium, watched_page

RELEASE_MS, LARGE_RELEASE_MS, FIRST_PAINT_MS = 100, 1000, 1000
DRAGS, LARGE_DRAGS, MOVES = 80, 16, 12
HOLDS, LARGE_HOLDS, REPEATS, REPEAT_MS = 20, 4, 30, 33
"""A key that is held: how often it repeats, and after how long, as most desktops have it."""

LEAST_REDRAWS = 10
PATIENCE_SECONDS = 60
BLOCKS, EXPERTS = 116, 128
"""Of the large model: 44,544 layers of experts, three a block and expert, and four of attention a block."""

_WATCH = """() => {
  window.releases = [];
  const slider = document.getElementById("slider");
  const after = new MessageChannel();
  let release = null;
  let painted = null;
  after.port1.onmessage = () => { window.releases.push(performance.now() - painted.at); };
  const see = () => {
    if (release?.value === undefined || document.body.dataset.shown !== release.value) return;
    painted = release;
    release = null;
    requestAnimationFrame(() => after.port2.postMessage(null));
  };
  const value = () => {
    if (release === null) return;
    release.value = new URLSearchParams(location.search).get("file_bytes");
    see();
  };
  const letGo = (event) => { release = { at: event.timeStamp }; };
  for (const end of ["pointerup", "keyup"]) slider.addEventListener(end, letGo, { capture: true });
  for (const end of ["change", "keyup"]) slider.addEventListener(end, value);
  new MutationObserver(see).observe(document.body, { attributes: true, attributeFilter: ["data-drawn"] });
}"""


@dataclass(frozen=True, slots=True)
class Measured:
    """Milliseconds of one model.

    Attributes:
        releases: from each release of the slider to the painted picture.
        keys: from each release of an arrow key that was held to the painted picture of where the slider stands.
        redraws: pictures a second while keys are held.
        asked: plans that are asked for a second meanwhile.
        first_paint: of the page, until something of it is seen.
        first_picture: of the page, until the first plan is drawn.
        tiles: that are drawn.
    """

    releases: Sequence[float]
    keys: Sequence[float]
    redraws: float
    asked: float
    first_paint: float
    first_picture: float
    tiles: int

    def percentile(self, share: int) -> float:
        """Of the releases."""
        return float(np.percentile(self.releases, share))

    @property
    def late_keys(self) -> float:
        """95th percentile of the keys."""
        return float(np.percentile(self.keys, 95))


def measure() -> tuple[Measured, Measured]:
    """The studio over 224 layers × 8 formats, and over 45,008 of which 44,544 are experts'."""
    with _site() as address, chromium() as browser:
        usual = _studio(browser, address, "toy", drags=DRAGS, holds=HOLDS)
        return usual, _studio(browser, address, "mixture", drags=LARGE_DRAGS, holds=LARGE_HOLDS)


def goals(usual: Measured, large: Measured) -> list[Goal]:
    """The figures with their limits."""
    return [
        Goal("release to picture, 224 layers × 8 formats, p95", usual.percentile(95), RELEASE_MS, " ms"),
        Goal("arrow key let go to picture, p95", usual.late_keys, RELEASE_MS, " ms"),
        Goal("redraws while it is held", usual.redraws, LEAST_REDRAWS, " a second", at_least=True),
        Goal("44,544 layers of experts, p95", large.percentile(95), LARGE_RELEASE_MS, " ms"),
        Goal("arrow key let go, p95", large.late_keys, LARGE_RELEASE_MS, " ms"),
        Goal("first paint", max(usual.first_paint, large.first_paint), FIRST_PAINT_MS, " ms"),
    ]


@contextmanager
def _site() -> Iterator[str]:
    """Address of a service over both models."""
    with tempfile.TemporaryDirectory(prefix="bitplan-slider-") as name:
        folder = Path(name)
        with serve(folder) as served:
            database = Database(f"sqlite:///{folder / 'bitplan.db'}")
            add_mixture(database)
            database.close()
            yield str(served.client.base_url).rstrip("/")


def add_mixture(database: Database) -> None:
    """Register and measure the large model, ``mixture``."""
    whole = synthetic.description(blocks=BLOCKS, name="mixture", head=False)
    dense = [layer for layer in whole.layers if "self_attn" in layer.name]
    experts = [
        Layer(f"model.layers.{block}.mlp.experts.{expert}.{kind}", kind, block, expert, 128, 128, 8 / EXPERTS)
        for block in range(BLOCKS)
        for expert in range(EXPERTS)
        for kind in ("gate_proj", "up_proj", "down_proj")
    ]
    described = replace(whole, layers=(*dense, *experts), architecture="qwen3_moe")
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))


def _studio(browser: Browser, address: str, model: str, *, drags: int, holds: int) -> Measured:
    with watched_page(browser, address) as watched:
        page = watched.page
        page.set_default_timeout(60_000)
        page.goto(f"/models/{model}/studio")
        page.wait_for_selector("body[data-frontier]")
        paint = page.evaluate('performance.getEntriesByName("first-contentful-paint")[0].startTime')
        picture = page.evaluate('performance.getEntriesByName("first-picture")[0].startTime')
        page.evaluate(_WATCH)
        _drag(page, drags)
        releases = page.evaluate("window.releases")
        redraws, asked = _hold(page, holds, before=drags)
        keys = page.evaluate("window.releases")[drags:]
        found = Measured(releases, keys, redraws, asked, paint, picture, page.locator("#strip g.tile").count())
    if watched.faults:
        raise RuntimeError("; ".join(watched.faults))
    return found


def _drag(page: Page, drags: int) -> None:
    """Take the slider somewhere else, again and again, and wait for the picture after each release."""
    chance = random.Random(0)
    slider = page.locator("#slider")
    for number in range(1, drags + 1):
        box = slider.bounding_box()
        if box is None:
            msg = "the studio has no slider"
            raise RuntimeError(msg)
        begin, end = (box["x"] + box["width"] * chance.uniform(0.05, 0.95) for _ in range(2))
        height = box["y"] + box["height"] / 2
        page.mouse.move(begin, height)
        page.mouse.down()
        page.mouse.move(end, height, steps=MOVES)
        page.mouse.up()
        _wait(page, number)


def _hold(page: Page, holds: int, *, before: int) -> tuple[float, float]:
    """Hold an arrow key, now this way and now that, and wait for the picture after each; redraws and questions a second."""
    questions: list[str] = []
    page.on("request", lambda request: questions.append(request.url) if "/plans/preview" in request.url else None)
    page.focus("#slider")
    redraws, seconds, asked = 0, 0.0, 0
    for number in range(holds):
        key = "ArrowLeft" if number % 2 else "ArrowRight"
        began, drawn, known = time.monotonic(), _drawn(page), len(questions)
        for _ in range(REPEATS):
            page.keyboard.down(key)
            page.wait_for_timeout(REPEAT_MS)
        redraws, asked, seconds = (
            redraws + _drawn(page) - drawn,
            asked + len(questions) - known,
            seconds + time.monotonic() - began,
        )
        page.keyboard.up(key)
        _wait(page, before + number + 1)
    return redraws / seconds, asked / seconds


def _drawn(page: Page) -> int:
    return int(page.evaluate("document.body.dataset.drawn"))


def _wait(page: Page, releases: int) -> None:
    """Until so many releases are painted."""
    end = time.monotonic() + PATIENCE_SECONDS
    while page.evaluate("window.releases.length") < releases:
        if time.monotonic() > end:
            msg = f"no picture within {PATIENCE_SECONDS} s of release {releases} of the slider"
            raise TimeoutError(msg)
        page.wait_for_timeout(5)
