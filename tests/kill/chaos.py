"""Random accidents, each when a share of the job's units is done, all drawn from one seed."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import final

from tests.kill.ledger import Watch
from tests.kill.postgres import Postgres
from tests.kill.processes import POLL_SECONDS, Running
from tests.kill.site import Site

_EARLIEST, _LATEST = 0.03, 0.9


@final
@dataclass(frozen=True, slots=True)
class Blows:
    """How often what happens.

    Attributes:
        worker_kills: kill -9 of a worker; another one starts within a lease.
        freezes: SIGSTOP of a worker for longer than its lease, then SIGCONT.
        api_kills: kill -9 of the service, which starts again.
        crashes: immediate stop of PostgreSQL, which starts again.
    """

    worker_kills: int
    freezes: int
    api_kills: int
    crashes: int


@dataclass(slots=True)
class Chaos:
    """Disturbs a site while a job runs on it.

    Attributes:
        site: whose processes.
        blows: how often what happens.
        seed: of everything random.
        crew: workers that a service manager keeps alive.
        postgres: the server to crash.
        supervised: the worker is the child of the service, which replaces it.
        happened: what was done, and how often.
    """

    site: Site
    blows: Blows
    seed: int
    crew: int
    postgres: Postgres | None = None
    supervised: bool = False
    happened: Counter[str] = field(default_factory=Counter)
    _random: random.Random = field(init=False)
    _next_start: float = 0.0
    _next_service: float = 0.0
    _later: list[tuple[float, Callable[[], object]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def run(self, job: str, watch: Watch, *, seconds: float) -> None:
        """Until the job has ended and every victim is back; accidents that its end overtakes do not happen.

        Raises:
            TimeoutError: the job does not end.
        """
        schedule = self._schedule()
        deadline = time.monotonic() + seconds
        done, total, ended = 0, 0, False
        while not ended or self._later:
            if time.monotonic() > deadline:
                msg = f"the job has {done} of {total} units after {seconds:.0f} s; seed {self.seed}, so far {dict(self.happened)}"
                raise TimeoutError(msg)
            document = self.site.look(job)
            if document is not None:
                done, total, ended = document["done"], document["total"] or 0, document["finished_at"] is not None
            while schedule and total and done >= schedule[0][0] * total and not ended:
                schedule.pop(0)[1]()
            self._undo()
            self._restart_workers()
            self._restart_service()
            watch.look()
            time.sleep(POLL_SECONDS)

    def __str__(self) -> str:
        return ", ".join(f"{count} × {what}" for what, count in sorted(self.happened.items()))

    def _schedule(self) -> list[tuple[float, Callable[[], None]]]:
        accidents = [
            *[self._kill_worker] * self.blows.worker_kills,
            *[self._freeze_worker] * self.blows.freezes,
            *[self._kill_api] * self.blows.api_kills,
            *[self._crash] * self.blows.crashes,
        ]
        self._random.shuffle(accidents)
        shares = sorted(self._random.uniform(_EARLIEST, _LATEST) for _ in accidents)
        return list(zip(shares, accidents, strict=True))

    def _after(self, least: float, most: float, what: Callable[[], object]) -> None:
        """Do something between so many leases from now."""
        wait = self.site.lease_seconds * self._random.uniform(least, most)
        self._later.append((time.monotonic() + wait, what))

    def _undo(self) -> None:
        due = [item for item in self._later if item[0] <= time.monotonic()]
        self._later = [item for item in self._later if item not in due]
        for _, what in due:
            what()

    def _restart_workers(self) -> None:
        """What a service manager does about workers that ended: killed, or started while the database was away."""
        if len(self.site.living()) < self.crew and time.monotonic() >= self._next_start:
            self.site.work()
            self._next_start = time.monotonic() + self.site.lease_seconds * self._random.uniform(0.1, 1.0)

    def _restart_service(self) -> None:
        """The same for the service: killed, or started while the database was away."""
        if self.site.api is not None and not self.site.api.is_alive and time.monotonic() >= self._next_service:
            self.site.serve(with_worker=self.supervised)
            self._next_service = time.monotonic() + self.site.lease_seconds * self._random.uniform(0.1, 0.5)

    def _kill_worker(self) -> None:
        if self.supervised:
            victims = [Running(pid, self.site.folder) for pid in (self.site.api.children() if self.site.api else [])]
        else:
            victims = self.site.living()
        if victims:
            self._random.choice(victims).kill()
            self.happened["worker killed"] += 1

    def _freeze_worker(self) -> None:
        victims = self.site.living()
        if victims:
            victim = self._random.choice(victims)
            victim.send(signal.SIGSTOP)
            self._after(1.2, 2.0, partial(victim.send, signal.SIGCONT))
            self.happened["worker frozen"] += 1

    def _kill_api(self) -> None:
        if self.site.api is not None and self.site.api.is_alive:
            self.site.api.kill()
            self._next_service = time.monotonic() + self.site.lease_seconds * self._random.uniform(0.1, 0.5)
            self.happened["service killed"] += 1

    def _crash(self) -> None:
        if self.postgres is not None:
            self.postgres.crash()
            self._after(0.2, 1.2, self.postgres.start)
            self.happened["database crashed"] += 1
