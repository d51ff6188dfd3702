"""Faults of what bitplan stands on: a full disk, a database that refuses to write, a clock that jumps.

Each begins in the middle of a job and lasts for some seconds, in which the service must say clearly what is wrong and nothing may
be recorded wrongly; when it is over the job must end by itself, with the numbers of the undisturbed run.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import final

from tests.kill.arena import Arena
from tests.kill.clock import DAY
from tests.kill.disk import small_disk
from tests.kill.ledger import Watch
from tests.kill.outcome import Outcome
from tests.kill.postgres import Postgres
from tests.kill.processes import Running, wait
from tests.kill.site import Site

BEGIN = 0.2
"""Share of the units that is done when a fault begins."""

_FULL = "Free some space on the disk"
_READ_ONLY = "connect as a role that may write"
_NEW_TEXT = {
    "text": random.Random(0).randbytes(40_000).hex(),  # no compression makes it fit into what is left of a page
    "sequences": 1,
    "sequence_length": 4,
    "held_out_sequences": 1,
}


@final
@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, and what is to be said meanwhile.

    Attributes:
        inflict: begin it.
        heal: end it.
        says: words of the logs of the service and of every worker.
        facts: what it was, for the report.
    """

    inflict: Callable[[], object]
    heal: Callable[[], object]
    says: str
    facts: str


def full_disk_sqlite(arena: Arena) -> Outcome:
    """Somebody else fills the disk of the embedded database."""
    with small_disk(arena.folder / "disk", megabytes=8) as disk:
        fault = Fault(disk.fill, disk.empty, _FULL, "the disk was full")
        with arena.site("full-disk-sqlite", f"sqlite:///{disk.folder / 'bitplan.db'}") as site:
            return _endure(arena, site, fault)


def full_disk_postgresql(arena: Arena) -> Outcome:
    """Somebody else fills the disk of PostgreSQL."""
    with small_disk(arena.folder / "disk", megabytes=96) as disk, arena.postgres(folder=disk.folder / "data") as postgres:

        def heal() -> None:
            disk.empty()
            postgres.start_again()

        fault = Fault(disk.fill, heal, _FULL, "the disk was full")
        with arena.site("full-disk-postgresql", postgres.url()) as site:
            return _endure(arena, site, fault)


def read_only_postgresql(arena: Arena, postgres: Postgres) -> Outcome:
    """The server is a standby for a while: it answers, and refuses to write."""
    fault = Fault(postgres.demote, postgres.promote, _READ_ONLY, "the server was a standby")
    with arena.site("read-only-postgresql", postgres.new_database("standby")) as site:
        return _endure(arena, site, fault)


def read_only_sqlite(arena: Arena) -> Outcome:
    """All processes die, and the disk is read-only when they are started again; they wait for it."""
    with (
        small_disk(arena.folder / "disk", megabytes=8) as disk,
        arena.site("read-only-sqlite", f"sqlite:///{disk.folder / 'bitplan.db'}") as site,
    ):
        site.serve()
        job = site.submit(arena.workload)
        worker = site.work()
        start, watch = time.monotonic(), Watch(site.url, job)
        site.wait_until(job, BEGIN * arena.units)
        watch.look()
        for running in (worker, site.api):
            assert running is not None
            running.kill()
        disk.freeze()
        started = (site.serve(), site.work())
        complaints = _refused(site)
        for running in started:
            wait(partial(_says, running, _READ_ONLY), f"a process says {_READ_ONLY!r}")
        disk.thaw()
        site.end(job)
        facts = "the disk was read-only when everything started again"
        return arena.settle(site, job, watch, start=start, facts=facts, complaints=complaints)


def clock_jumps(arena: Arena, name: str, url: str) -> Outcome:
    """The clock of all processes jumps a day ahead, two days back, and then to the truth."""
    with arena.site(name, url) as site:
        site.serve()
        job = site.submit(arena.workload)
        site.work()
        site.work()
        start, watch = time.monotonic(), Watch(site.url, job)
        complaints = [] if arena.clock.compiler else ["no C compiler (cc) is here, so no clock was set"]
        for share, wrong in ((0.2, DAY), (0.4, -DAY), (0.6, 0)):
            site.wait_until(job, share * arena.units)
            watch.look()
            arena.clock.set(wrong)
            eta = (site.look(job) or {}).get("eta_seconds")
            if eta is not None and eta < 0:
                complaints.append(f"the job's end is forecast in {eta} s")
        site.end(job)
        facts = "the clock jumped a day ahead, two days back, and to the truth"
        return arena.settle(site, job, watch, start=start, facts=facts, complaints=complaints)


def _endure(arena: Arena, site: Site, fault: Fault) -> Outcome:
    """A job with two workers through a fault that lasts for more than a lease."""
    site.serve()
    job = site.submit(arena.workload)
    workers = [site.work(), site.work()]
    start, watch = time.monotonic(), Watch(site.url, job)
    site.wait_until(job, BEGIN * arena.units)
    watch.look()
    fault.inflict()
    try:
        complaints = _refused(site)
        for running in (site.api, *workers):
            wait(partial(_says, running, fault.says), f"a process says {fault.says!r}")
        time.sleep(1.5 * arena.lease_seconds)
        watch.look()
    finally:
        fault.heal()
    site.end(job)
    if not all(worker.is_alive for worker in workers):
        complaints.append("a worker ended")
    return arena.settle(site, job, watch, start=start, facts=fault.facts, complaints=complaints)


def _refused(site: Site) -> list[str]:
    """Complaints about the answer to a request that would write; what is wrong with the database is for the log alone."""
    wait(site.is_up, "the service answers")
    answer = site.request("POST", "/v1/calibrations", json=_NEW_TEXT)
    is_problem = answer.headers.get("content-type", "").startswith("application/problem+json")
    if answer.status_code == 503 and is_problem:
        return []
    return [f"a request that writes was answered {answer.status_code} {answer.text}"]


def _says(running: Running | None, words: str) -> bool:
    return running is not None and words in running.said
