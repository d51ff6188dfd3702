"""How long the pages of a model of 44,544 layers take, from the click to what is drawn, in the browser.

The service is a process of its own that has answered the same pages of a small model before, so that what is measured is the
large model: the first visit reads and groups its layers, later ones find them remembered. Pages are visited in the order in which
people come to them: a model's own page begins to draw the heat map, the frontier finds the cells that the map read.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from playwright.sync_api import Page

from planner.storage.database import Database
from planner.storage.tables import JobRow, utc_now
from tests.api.serving import Served, serve
from tests.benchmarks.goals import Goal
from tests.web.chromium import chromium, watched_page
from tests.web.slider import add_mixture

PAGE_MS: Final = 1000
SMALL, LARGE = "toy", "mixture"
JOBS: Final = 5
_PATIENCE_MS: Final = 60_000
_BUDGET: Final = {"effective_bits": 4.25}
_DRAWN: Final = {
    "models": ("/", "main table"),
    "overview": ("/models/{model}", "#job-list"),
    "sensitivity": ("/models/{model}/sensitivity", "body[data-drawn]"),
    "frontier": ("/models/{model}/frontier", "body[data-drawn]"),
    "plan": ("/plans/{plan}", "body[data-drawn]"),
    "jobs": ("/jobs?model={model}", "#job-list"),
}
"""Pages, and what is there when they are drawn."""


@dataclass(frozen=True, slots=True)
class Visits:
    """Milliseconds of a page: of the first visit, and of the one after it."""

    first: float
    second: float


def measure() -> Mapping[str, Visits]:
    """Each page of the large model, and a search among the layers of its plan."""
    with _site() as (address, plans), chromium() as browser, watched_page(browser, address) as watched:
        page = watched.page
        page.set_default_timeout(_PATIENCE_MS)
        for path, drawn in _DRAWN.values():
            _visit(page, path.format(model=SMALL, plan=plans[SMALL]), drawn)
        found = {}
        for name, (path, drawn) in _DRAWN.items():
            first, second = (_visit(page, path.format(model=LARGE, plan=plans[LARGE]), drawn) for _ in range(2))
            found[name] = Visits(first, second)
        page.goto(f"/plans/{plans[LARGE]}")
        page.wait_for_selector("body[data-drawn]")
        found["search among layers"] = Visits(_search(page, "experts.77.up"), _search(page, "q_proj"))
    if watched.faults:
        raise RuntimeError("; ".join(watched.faults))
    return found


def goals(found: Mapping[str, Visits]) -> list[Goal]:
    """The slowest page of all, with its name."""
    name, slowest = max(((name, max(one.first, one.second)) for name, one in found.items()), key=lambda item: item[1])
    return [Goal(f"44,544 layers, slowest page ({name})", slowest, PAGE_MS, " ms")]


@contextmanager
def _site() -> Iterator[tuple[str, dict[str, str]]]:
    """Address of a service over both models, and a plan of each."""
    with tempfile.TemporaryDirectory(prefix="bitplan-pages-") as name:
        folder = Path(name)
        with serve(folder) as served:
            database = Database(served.url)
            add_mixture(database)
            plans = {model: _plan(served, model) for model in (SMALL, LARGE)}
            _add_jobs(database, served)
            database.close()
            yield str(served.client.base_url).rstrip("/"), plans


def _plan(served: Served, model: str) -> str:
    answer = served.client.post("/v1/plans", json={"model": model, "budget": _BUDGET})
    answer.raise_for_status()
    return str(answer.json()["id"])


def _add_jobs(database: Database, served: Served) -> None:
    """Jobs that run on all layers of the large model, as many as machines might have."""
    model = str(served.client.get(f"/v1/models/{LARGE}").json()["id"])
    layers = [item["name"] for item in served.client.get(f"/v1/models/{LARGE}/layers").json()["items"]]
    cells = {layer: ["INT2_G64", "INT3_G64"] for layer in layers}
    now = utc_now()
    with database.session() as session:
        for number in range(JOBS):
            payload = {"probe": "kl", "layers": layers, "cells": cells, "formats": ["INT2_G64", "INT3_G64"], "seed": number}
            facts = {"kind": "sensitivity", "model_id": model, "state": "running", "total": 100, "done": 7, "started_at": now}
            session.add(JobRow(id=f"{number:032x}", payload=payload, **facts))
            session.flush()


def _visit(page: Page, path: str, drawn: str) -> float:
    """Milliseconds from the request of a page to what it draws."""
    page.goto("about:blank")
    start = time.perf_counter()
    page.goto(path, wait_until="commit")
    page.wait_for_selector(drawn)
    return 1000 * (time.perf_counter() - start)


def _search(page: Page, text: str) -> float:
    """Milliseconds from the last letter, the pause after it included, to the first layer that has it."""
    start = time.perf_counter()
    page.get_by_label("Name", exact=True).first.fill(text)
    page.wait_for_selector(f'#layers button[data-layer*="{text}"] >> nth=0')
    page.wait_for_selector(f'#layers:not(:has(button[data-layer]:not([data-layer*="{text}"])))')
    return 1000 * (time.perf_counter() - start)
