"""``python -m tests.kill``: every scenario at full length, or those that are named; ``make kill-test``.

The last line begins ``ok:`` or ``short:`` and holds the figures. Random accidents come from ``--seed``; processes are started as
an operator starts them (``--warm`` forks them from one that has imported everything, which takes less of a busy machine).
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import httpx2

from tests.kill.arena import Arena
from tests.kill.chaos import Blows
from tests.kill.disk import may_mount
from tests.kill.faults import clock_jumps, full_disk_postgresql, full_disk_sqlite, read_only_postgresql, read_only_sqlite
from tests.kill.machines import two_machines
from tests.kill.outcome import Outcome
from tests.kill.scenarios import dead_worker, disturbed_postgresql, disturbed_sqlite, poison_unit

POSTGRESQL_BLOWS = Blows(worker_kills=10, freezes=4, api_kills=3, crashes=3)
SQLITE_BLOWS = Blows(worker_kills=6, freezes=0, api_kills=3, crashes=0)
LEASE_SECONDS = 4.0
SMALL_UNITS = 60
UNIT_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Scenario:
    """One line of the report."""

    name: str
    run: Callable[[], Outcome]
    needs_root: bool = False


def say(*text: object) -> None:
    """A line, at once."""
    print(*text, flush=True)  # noqa: T201  (a report is printed)


def random_accidents(arena: Arena, seed: int) -> Iterator[Scenario]:
    """Everything dies at random, on both databases."""

    def postgresql() -> Outcome:
        with arena.postgres("disturbed") as postgres:
            return disturbed_postgresql(arena, postgres, blows=POSTGRESQL_BLOWS, seed=seed)

    yield Scenario("postgresql", postgresql)
    yield Scenario("sqlite", partial(disturbed_sqlite, arena, blows=SQLITE_BLOWS, seed=seed))


def single_faults(arena: Arena) -> Iterator[Scenario]:
    """One thing goes wrong, on both databases."""

    def on_postgresql(name: str, run: Callable[[Arena, str, str], Outcome]) -> Outcome:
        with arena.postgres(name) as postgres:
            return run(arena, name, postgres.url())

    for what, run in (("dead-worker", dead_worker), ("poison-unit", poison_unit), ("clock", clock_jumps)):
        name = f"{what}-sqlite"
        yield Scenario(name, partial(run, arena, name, arena.sqlite(name)))
        yield Scenario(f"{what}-postgresql", partial(on_postgresql, f"{what}-postgresql", run))
    yield Scenario("full-disk-sqlite", partial(full_disk_sqlite, arena), needs_root=True)
    yield Scenario("full-disk-postgresql", partial(full_disk_postgresql, arena), needs_root=True)
    yield Scenario("read-only-sqlite", partial(read_only_sqlite, arena), needs_root=True)
    yield Scenario("read-only-postgresql", partial(_read_only_postgresql, arena))
    yield Scenario("two-machines", partial(two_machines, arena), needs_root=True)


def _read_only_postgresql(arena: Arena) -> Outcome:
    with arena.postgres("read-only") as postgres:
        return read_only_postgresql(arena, postgres)


def run(scenarios: Iterator[Scenario], names: list[str]) -> Iterator[Outcome]:
    """Outcomes of the scenarios whose names match one of the patterns, each printed at once."""
    for scenario in scenarios:
        if not any(fnmatch(scenario.name, name) for name in names):
            continue
        if scenario.needs_root and not may_mount():
            outcome = Outcome.failed(scenario.name, "left out: it mounts disks or makes network namespaces, which needs root")
        else:
            try:
                outcome = scenario.run()
            except (AssertionError, OSError, httpx2.HTTPError, subprocess.SubprocessError) as error:
                outcome = Outcome.failed(scenario.name, str(error))
        say(("good" if outcome.is_good else "BAD "), outcome)
        yield outcome


def closing_line(outcomes: list[Outcome], seconds: float) -> str:
    """``ok:`` or ``short:``, and the figures of all scenarios together."""
    bad = [outcome.name for outcome in outcomes if not outcome.is_good]
    figures = (
        f"{sum(o.units for o in outcomes)} units in {len(outcomes)} scenarios, {sum(o.lost for o in outcomes)} lost, "
        f"{sum(o.twice for o in outcomes)} recorded twice, {sum(o.unequal for o in outcomes)} unequal to the undisturbed run, "
        f"{seconds:.0f} s"
    )
    return f"short: {', '.join(bad)}; {figures}" if bad else f"ok: {figures}"


def main() -> None:
    """Run, print, and exit with 1 if anything is short."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill", description=__doc__)
    parser.add_argument("names", nargs="*", default=["*"], help="scenarios, such as 'sqlite' or 'clock-*'; all by default")
    parser.add_argument("--units", type=int, default=400, help="of the jobs with random accidents")
    parser.add_argument("--seed", type=int, default=0, help="of the random accidents")
    parser.add_argument("--warm", action="store_true", help="fork processes from one that has imported everything")
    parser.add_argument("--folder", type=Path, help="new folder for databases and logs, which is kept; else a temporary one")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="bitplan-kill-"))
    begin = time.monotonic()
    outcomes: list[Outcome] = []
    with Arena(folder / "long", options.units, LEASE_SECONDS, heavy=True, cold=not options.warm) as arena:
        outcomes += run(random_accidents(arena, options.seed), options.names)
    with Arena(folder / "short", SMALL_UNITS, LEASE_SECONDS, unit_seconds=UNIT_SECONDS) as arena:
        outcomes += run(single_faults(arena), options.names)
    if options.folder is None:
        shutil.rmtree(folder)
    say(closing_line(outcomes, time.monotonic() - begin))
    sys.exit(not outcomes or not all(outcome.is_good for outcome in outcomes))


if __name__ == "__main__":
    main()
