"""``python -m tests.load``: plans a second and the slowest of them, on SQLite and on PostgreSQL; ``make load-test``.

The service and its worker run as an operator starts them. While the worker measures a tiny model, 50 clients ask for plans of a
model of 224 layers × 8 formats, then for stored plans. The last line begins ``ok:`` or ``short:`` and holds the figures.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import make_url

from tests.benchmarks.goals import Goal, closing_line
from tests.kill.postgres import Postgres
from tests.load.generator import Measured, load
from tests.load.questions import USUAL_SHARE, questions, repeated_share
from tests.load.site import LARGE, MODEL, Site, fill, measuring, serve

PLANS_A_SECOND, PLAN_P99 = 200, 250
STORED_A_SECOND = 500
MEASURING_CORES = 0.05  # half of what its niceness leaves it of two processors that are never idle
LARGE_P99 = 300
MOST_QUESTIONS = 60_000
STORED_PLANS = 500
LARGE_PLANS = 30


@dataclass(frozen=True, slots=True)
class Options:
    """What is run."""

    databases: Sequence[str]
    seconds: float
    clients: int
    processes: int
    seed: int
    usual: float
    large: bool


def say(*text: object) -> None:
    """A line, at once."""
    print(*text, flush=True)  # noqa: T201  (a report is printed)


def run(options: Options, name: str, folder: Path) -> list[Goal]:
    """All loads on one kind of database."""
    databases = {"sqlite": _sqlite, "postgresql": _postgresql}
    with databases[name](folder) as url:
        fill(url, large=options.large)
        with serve(url, folder, processes=options.processes) as site:
            with measuring(site, seed=options.seed) as jobs:
                with _measured(site, jobs, name) as measured:
                    goals = [*_plans(site, options, name), *_stored(site, options, name)]
                goals += measured
            if options.large:
                goals.append(_large(site, options, name))
            say(f"{name}: the largest process that answers takes {site.megabytes():.0f} MB")
    return goals


def _plans(site: Site, options: Options, name: str) -> list[Goal]:
    asked = questions(MODEL, count=MOST_QUESTIONS, seed=options.seed, usual=options.usual)
    load(site.address, method="POST", lines=asked[-500:], clients=options.clients, seconds=2, folder=site.folder)
    before = (site.processor_seconds(worker=False), site.processor_seconds(worker=True))
    found = _load(site, options, method="POST", lines=asked)
    answering, worker = (site.processor_seconds(worker=w) - b for w, b in zip((False, True), before, strict=True))
    say(f"{name}, plans: {found}; {repeated_share(asked[: found.requests]):.0%} of the questions were asked before")
    say(
        f"{name}, plans: {1000 * answering / found.requests:.2f} ms of processor a plan; "
        f"{answering / found.seconds:.2f} cores answered, {worker / found.seconds:.2f} cores measured"
    )
    return [
        Goal(f"{name} plans", found.rate, PLANS_A_SECOND, "/s", at_least=True),
        Goal(f"{name} plans p99", found.p99, PLAN_P99, " ms"),
        Goal(f"{name} plan errors", found.errors, 0),
    ]


def _stored(site: Site, options: Options, name: str) -> list[Goal]:
    paths: list[str] = []
    cursor = None
    while len(paths) < STORED_PLANS:
        page = site.client.get("/v1/plans", params={"limit": 100} | ({"cursor": cursor} if cursor else {})).json()
        paths += [f"/v1/plans/{item['id']}" for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    random.Random(options.seed).shuffle(paths)
    found = _load(site, options, method="GET", lines=paths)
    say(f"{name}, stored plans: {found}; {len(paths)} plans in turn")
    return [
        Goal(f"{name} stored plans", found.rate, STORED_A_SECOND, "/s", at_least=True),
        Goal(f"{name} stored plan errors", found.errors, 0),
    ]


def _load(site: Site, options: Options, *, method: str, lines: Sequence[str]) -> Measured:
    return load(site.address, method=method, lines=lines, clients=options.clients, seconds=options.seconds, folder=site.folder)


def _large(site: Site, options: Options, name: str) -> Goal:
    """One client after another asks for plans of 44,544 layers."""
    draw, seconds = random.Random(options.seed), []
    for _ in range(LARGE_PLANS + 1):
        begin = time.perf_counter()
        body = {"model": LARGE, "budget": {"effective_bits": round(draw.uniform(3, 7), 4)}}
        site.client.post("/v1/plans", json=body).raise_for_status()
        seconds.append(time.perf_counter() - begin)
    median, p99 = 1000 * np.quantile(seconds[1:], (0.5, 0.99))
    say(f"{name}, 44,544 layers: first {1000 * seconds[0]:.0f} ms, then median {median:.0f} ms, p99 {p99:.0f} ms")
    return Goal(f"{name} plans of 44,544 layers p99", float(p99), LARGE_P99, " ms")


@contextmanager
def _measured(site: Site, jobs: Sequence[str], name: str) -> Iterator[list[Goal]]:
    """What the worker measures during the block; the goals are there after it."""
    begin, units, processor = time.monotonic(), site.units_done(jobs), site.processor_seconds(worker=True)
    goals: list[Goal] = []
    yield goals
    seconds = time.monotonic() - begin
    units, processor = site.units_done(jobs) - units, site.processor_seconds(worker=True) - processor
    say(
        f"{name}: meanwhile the worker measured {units} units in {seconds:.0f} s with {processor / seconds:.2f} of a core, "
        f"{processor / max(units, 1):.2f} s of processor a unit"
    )
    goals.append(Goal(f"{name} measuring", processor / seconds, MEASURING_CORES, " of a core", at_least=True))
    goals.append(Goal(f"{name} units measured meanwhile", units, 1, at_least=True))


@contextmanager
def _sqlite(folder: Path) -> Iterator[str]:
    yield f"sqlite:///{folder / 'bitplan.db'}"


@contextmanager
def _postgresql(folder: Path) -> Iterator[str]:
    server = Postgres(folder / "pg")
    server.folder.mkdir()
    server.start()
    try:
        yield make_url(server.url()).render_as_string(hide_password=False)
    finally:
        server.stop()


def main() -> None:
    """Run what is asked for and say how it went."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description="Load of the service on this machine.")
    parser.add_argument("--databases", default="sqlite,postgresql", help="sqlite, postgresql, or both")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each load")
    parser.add_argument("--clients", type=int, default=50, help="at once")
    parser.add_argument("--processes", type=int, default=2, help="that answer")
    parser.add_argument("--seed", type=int, default=0, help="of the questions")
    parser.add_argument(
        "--usual", type=float, default=USUAL_SHARE, help="share of the budgets that are asked for again and again"
    )
    parser.add_argument("--large", action="store_true", help="also plans of 44,544 layers, one after another")
    given = vars(parser.parse_args())
    options = Options(**given | {"databases": given["databases"].split(",")})
    goals: list[Goal] = []
    for name in options.databases:
        with tempfile.TemporaryDirectory(prefix="bitplan-load-") as folder:
            goals += run(options, name, Path(folder))
    say(closing_line(goals))


if __name__ == "__main__":
    main()
