"""Accidents while a job runs: random ones, the death of a worker, and a unit that kills its workers."""

import time

from planner.jobs.job import JobState
from tests.kill.arena import Arena
from tests.kill.chaos import Blows, Chaos
from tests.kill.diary import Diary
from tests.kill.ledger import Watch, read
from tests.kill.outcome import Outcome
from tests.kill.postgres import Postgres
from tests.kill.processes import wait
from tests.kill.site import Site
from tests.kill.starter import Trouble

WORKERS = 3
_SLACK_SECONDS = 1.0  # the pause of a worker that found nothing to do, twice


def disturbed_postgresql(arena: Arena, postgres: Postgres, *, blows: Blows, seed: int) -> Outcome:
    """Three workers and a service on PostgreSQL, all of which die and come back."""
    with arena.site("postgresql", postgres.new_database("disturbed")) as site:
        return _disturbed(arena, site, Chaos(site, blows, seed, WORKERS, postgres))


def disturbed_sqlite(arena: Arena, *, blows: Blows, seed: int) -> Outcome:
    """A service on SQLite and its worker; cold processes are what `bitplan serve` alone starts."""
    with arena.site("sqlite", arena.sqlite("sqlite")) as site:
        return _disturbed(arena, site, Chaos(site, blows, seed, crew=0 if arena.cold else 1, supervised=arena.cold))


def _disturbed(arena: Arena, site: Site, chaos: Chaos) -> Outcome:
    site.serve(with_worker=chaos.supervised)
    job = site.submit(arena.workload)
    for _ in range(chaos.crew):
        site.work()
    start, watch = time.monotonic(), Watch(site.url, job)
    chaos.run(job, watch, seconds=600 + arena.units)
    complaints = [] if chaos.happened else ["no accident happened before the job had ended"]
    return arena.settle(site, job, watch, start=start, facts=f"seed {chaos.seed}: {chaos}", complaints=complaints)


def dead_worker(arena: Arena, name: str, url: str) -> Outcome:
    """A worker dies in a unit: when does the other one begin it again?"""
    unit_seconds = 0.5
    diary = Diary(arena.folder / f"{name}-diary")
    trouble = Trouble(seconds=unit_seconds, diary=str(diary.path)).environment()
    with arena.site(name, url, trouble=trouble) as site:
        site.serve()
        job = site.submit(arena.workload)
        victim, survivor = site.work(), site.work()
        start, watch = time.monotonic(), Watch(site.url, job)
        wait(lambda: {victim.pid, survivor.pid} <= {pid for _, pid, _ in diary.read()}, "both workers have begun a unit")
        victim.kill()
        death = time.monotonic()
        orphan = next(key for key, pid, _ in reversed(diary.read()) if pid == victim.pid)
        again = diary.wait_for(orphan, survivor.pid) - death
        overtaken = sum(pid == survivor.pid and site.lease_seconds < begun - death < again for _, pid, begun in diary.read())
        site.end(job)
        late = again > site.lease_seconds + unit_seconds + _SLACK_SECONDS and overtaken > 1  # a busy machine is slow with all
        return arena.settle(
            site,
            job,
            watch,
            start=start,
            facts=f"unit begun again {again:.1f} s after kill -9, lease {site.lease_seconds:g} s, unit {unit_seconds:g} s",
            complaints=[f"that is later than one lease, and {overtaken} units came first"] if late else [],
        )


def poison_unit(arena: Arena, name: str, url: str) -> Outcome:
    """A unit kills every worker that begins it; a service manager starts new ones."""
    poison = sorted(arena.reference.results)[len(arena.reference.results) // 2]
    diary = Diary(arena.folder / f"{name}-diary")
    trouble = Trouble(poison=poison, diary=str(diary.path)).environment()
    with arena.site(name, url, trouble=trouble) as site:
        site.serve()
        job = site.submit(arena.workload)
        start = time.monotonic()

        def ended() -> bool:
            if not site.living():
                site.work()
            document = site.look(job)
            return document is not None and JobState(document["state"]).is_final

        wait(ended, f"job {job} ends")
        document = site.end(job)
        attempts = sum(key == poison for key, _, _ in diary.read())
        results = read(site.url, job).results
        wrong = sum(results[key] != arena.reference.results[key] for key in results)
        reason = document["reason"] or ""
        noted = document["failed"] == 1 and poison in reason
        return Outcome(
            name=name,
            units=document["total"],
            lost=len(arena.reference.results) - len(results) - 1,
            twice=document["done"] - len(results),
            unequal=wrong,
            seconds=time.monotonic() - start,
            facts=f"unit {poison} killed {attempts} workers, the job has {document['state']}: {reason}",
            complaints=() if noted else (f"the job notes {document['failed']} failed units and not which",),
        )
