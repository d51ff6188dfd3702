"""`make screenshots`: every view of the page, at a desk and on a phone, light and dark.

Three of them stand in the README and are kept in ``docs/screenshots``; all are written to ``build/screenshots``, unkept.
The data is the demo's where `make demo` was run (``demo/bitplan.db``, or what ``BITPLAN_DATABASE_URL`` names; a SQLite file is
copied first), else that of a made-up model. The last line begins ``ok:`` or ``short:``.
"""

import os
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image
from playwright.sync_api import Browser

from planner.storage.database import Database
from tests.api.serving import Served, serve, serve_database
from tests.web.chromium import DESKTOP, PHONE, Watched, chromium, watched_page

ROOT: Final = Path(__file__).parents[2]
KEPT: Final = ROOT / "docs" / "screenshots"
BUILT: Final = ROOT / "build" / "screenshots"
DEMO: Final = ROOT / "demo" / "bitplan.db"
IN_README: Final = {"sensitivity": 860, "studio": 980, "frontier": 900}
"""View → height of its picture in the README; its width is that of a desk."""
MOST_BYTES: Final = 150_000
COLOURS: Final = (256, 128, 64)
BUDGETS: Final = (4.25, 5.25)


@dataclass(frozen=True, slots=True)
class View:
    """A view, and what shows that it is drawn.

    Attributes:
        name: of its files.
        path: of its page.
        drawn: selector of what is there once it is drawn.
    """

    name: str
    path: str
    drawn: str


def say(text: str) -> None:
    """A line, at once."""
    print(text, flush=True)  # noqa: T201  (a report is printed)


def main() -> int:
    """Take the pictures; 1 if a page did something that it should not do, or a picture is too heavy."""
    for folder in (KEPT, BUILT):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made, service(Path(made)) as served, chromium() as browser:
        faults = [fault for view in views(served) for fault in take(browser, served, view)]
    heavy = [f"{path.name} has {path.stat().st_size} bytes" for path in kept() if path.stat().st_size > MOST_BYTES]
    problems = [*faults, *heavy]
    weights = ", ".join(f"{path.name} {path.stat().st_size / 1000:.0f} kB" for path in kept())
    say(f"short: {'; '.join(problems)}" if problems else f"ok: {weights} in docs/screenshots; the others in build/screenshots")
    return int(bool(problems))


@contextmanager
def service(folder: Path) -> Iterator[Served]:
    """The service over a copy of the demo's database, or over a made-up model."""
    source = Path(os.environ.get("BITPLAN_DATABASE_URL", f"sqlite:///{DEMO}").removeprefix("sqlite:///"))
    if not source.is_file():
        say("no database of a demo: the pictures show a made-up model (`make demo` makes one)")
        with serve(folder) as served:
            yield served
        return
    copy = folder / "bitplan.db"
    with sqlite3.connect(f"file:{source}?mode=ro", uri=True) as there, sqlite3.connect(copy) as here:
        there.backup(here)
    database = Database(f"sqlite:///{copy}")
    database.upgrade()
    database.close()
    with serve_database(folder, f"sqlite:///{copy}") as served:
        yield served


def views(served: Served) -> list[View]:
    """Every view, of the newest model and its two newest plans."""
    model = served.client.get("/v1/models").raise_for_status().json()["items"][0]["id"]
    plan, other = plans(served, model)
    jobs = served.client.get("/v1/jobs").raise_for_status().json()["items"]
    return [
        View("models", "/", "main h1"),
        View("overview", f"/models/{model}", "main h1"),
        View("sensitivity", f"/models/{model}/sensitivity", "body[data-drawn]"),
        View("studio", f"/models/{model}/studio?effective_bits={BUDGETS[0]}", "body[data-frontier]"),
        View("frontier", f"/models/{model}/frontier", "body[data-drawn]"),
        View("plans", f"/plans?model={model}", "table"),
        View("plan", f"/plans/{plan}", "button.retarget"),
        View("diff", f"/plans/{plan}/diff/{other}", "#changes dl"),
        View("jobs", f"/jobs?model={model}", "main h1"),
        *([View("job", f"/jobs/{jobs[0]['id']}", "main h1")] if jobs else []),
    ]


def plans(served: Served, model: str) -> tuple[str, str]:
    """The two newest plans; they are made where there are none."""

    def newest() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = served.client.get("/v1/plans", params={"model": model}).raise_for_status().json()["items"]
        return found

    if len(newest()) < 2:
        for bits in BUDGETS:
            served.client.post("/v1/plans", json={"model": model, "budget": {"effective_bits": bits}}).raise_for_status()
    first, second = newest()[:2]
    return first["id"], second["id"]


def take(browser: Browser, served: Served, view: View) -> list[str]:
    """The pictures of one view; what its page did that it should not do."""
    faults = []
    address = str(served.client.base_url).rstrip("/")
    for size, place in ((DESKTOP, "desk"), (PHONE, "phone")):
        for dark in (False, True):
            name = f"{view.name}-{place}-{'dark' if dark else 'light'}"
            with watched_page(browser, address, size=size, dark=dark) as watched:
                watched.page.goto(view.path)
                watched.page.wait_for_selector(view.drawn)
                watched.page.wait_for_load_state("networkidle")
                watched.screenshot(BUILT, name)
                if size == DESKTOP and not dark and view.name in IN_README:
                    keep(watched, view.name)
                faults += [f"{name}: {fault}" for fault in watched.faults]
    return faults


def keep(watched: Watched, name: str) -> None:
    """The top of the page as a picture of the README, with as many colours as its weight allows."""
    watched.page.set_viewport_size({"width": DESKTOP[0], "height": IN_README[name]})
    path = KEPT / f"{name}.png"
    watched.page.screenshot(path=path)
    with Image.open(path) as opened:
        whole = opened.convert("RGB")
    for colours in COLOURS:
        whole.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            return


def kept() -> list[Path]:
    """The pictures of the README."""
    return [KEPT / f"{name}.png" for name in IN_README]


if __name__ == "__main__":
    sys.exit(main())
