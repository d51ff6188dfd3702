"""Where scenarios take place: a folder, a starter, one workload and its undisturbed run."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from tests.kill.clock import Clock
from tests.kill.ledger import Record, Watch, read
from tests.kill.outcome import Outcome, judge
from tests.kill.postgres import Postgres
from tests.kill.processes import Starter
from tests.kill.site import Site
from tests.kill.starter import Trouble
from tests.kill.workload import Workload


@dataclass
class Arena:
    """Everything scenarios share.

    Attributes:
        folder: of everything; created.
        units: of the job.
        lease_seconds: of all workers.
        unit_seconds: what each unit sleeps besides its work, so that accidents meet units half done.
        heavy: units take a sixth of a second of a processor instead of milliseconds.
        cold: processes are new interpreters, as an operator starts them.
    """

    folder: Path
    units: int
    lease_seconds: float
    unit_seconds: float = 0.0
    heavy: bool = False
    cold: bool = False

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.starter.stop()

    @cached_property
    def clock(self) -> Clock:
        """The clock of the starter's processes."""
        return Clock.create(self.folder / "clock")

    @cached_property
    def starter(self) -> Starter:
        """Starts `bitplan` commands."""
        logs = self.folder / "logs"
        logs.mkdir()
        return Starter(logs, self.clock.environment(), cold=self.cold)

    @cached_property
    def workload(self) -> Workload:
        """The job."""
        return Workload.create(self.folder / "model", units=self.units, heavy=self.heavy)

    @cached_property
    def reference(self) -> Record:
        """The job without any accident, by one worker that does its units one after the other."""
        with self.site("undisturbed", self.sqlite("undisturbed"), trouble={}) as site:
            site.serve()
            job = site.submit(self.workload)
            site.work()
            site.end(job, seconds=600 + self.units)
            return read(site.url, job)

    def sqlite(self, name: str) -> str:
        """URL of a new embedded database."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return f"sqlite:///{folder / 'bitplan.db'}"

    @contextmanager
    def postgres(
        self, name: str = "postgres", folder: Path | None = None, addresses: Sequence[str] = (), trusted: Sequence[str] = ()
    ) -> Iterator[Postgres]:
        """A running server of its own; its options are those of ``Postgres``."""
        data = folder or self.folder / name
        data.mkdir(exist_ok=True)
        server = Postgres(data, self.clock.environment(), addresses, trusted)
        server.start()
        try:
            yield server
        finally:
            server.stop()

    @contextmanager
    def site(self, name: str, url: str, *, trouble: Mapping[str, str] | None = None) -> Iterator[Site]:
        """An installation on an upgraded database, without processes."""
        if trouble is None:
            trouble = Trouble(seconds=self.unit_seconds).environment() if self.unit_seconds else {}
        site = Site(name, self.folder / name, url, self.starter, self.lease_seconds, trouble)
        site.upgrade()
        try:
            yield site
        finally:
            site.close()

    def settle(self, site: Site, job: str, watch: Watch, *, start: float, facts: str, complaints: Sequence[str] = ()) -> Outcome:
        """What became of a job that has ended, looked at once more when late answers of its workers are in."""
        seconds = time.monotonic() - start
        time.sleep(min(self.lease_seconds, 1.0))
        watch.look()
        document = site.end(job)
        return judge(
            site.name,
            document,
            record=read(site.url, job),
            reference=self.reference,
            twice=len(watch.twice),
            seconds=seconds,
            facts=facts,
            complaints=tuple(complaints),
        )
