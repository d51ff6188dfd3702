"""Two machines: network namespaces with a cable each to this machine, where PostgreSQL is. A cable can be pulled out.

Each has its own network stack and work directory; the model's files are at the same path for both, as on a shared disk.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

from tests.kill.arena import Arena
from tests.kill.faults import BEGIN
from tests.kill.ledger import Watch
from tests.kill.outcome import Outcome

NETWORK = "10.213.0.0/16"


@final
@dataclass(frozen=True, slots=True)
class Machine:
    """A machine on a cable of its own.

    Attributes:
        name: of its network namespace.
        cable: interface on this side of its cable.
        here: address of this side.
    """

    name: str
    cable: str
    here: str

    def unplug(self) -> None:
        """Pull the cable out: no packet arrives any more, and nobody is told."""
        _ip("link", "set", self.cable, "down")

    def plug(self) -> None:
        """Put the cable back."""
        _ip("link", "set", self.cable, "up")


@contextmanager
def machine(number: int) -> Iterator[Machine]:
    """Make a machine (as root), and take it away again."""
    made = Machine(f"bitplan-kill-{number}", f"bitplan{number}", f"10.213.{number}.1")
    _ip("netns", "add", made.name)
    try:
        _ip("link", "add", made.cable, "type", "veth", "peer", "name", "eth0", "netns", made.name)
        _ip("address", "add", f"{made.here}/24", "dev", made.cable)
        _ip("link", "set", made.cable, "up")
        for setting in (
            ("address", "add", f"10.213.{number}.2/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("link", "set", "lo", "up"),
        ):
            _ip("-n", made.name, *setting)
        yield made
    finally:
        _ip("netns", "delete", made.name)  # the cable goes with it


def two_machines(arena: Arena) -> Outcome:
    """Workers on two machines share one job; one of them loses its network for longer than its lease."""
    with (
        machine(1) as first,
        machine(2) as second,
        arena.postgres("shared", addresses=[first.here, second.here], trusted=[NETWORK]) as postgres,
        arena.site("two-machines", postgres.url()) as site,
    ):
        site.serve()
        job = site.submit(arena.workload)
        for one in (first, second):
            site.work(network=one.name, url=postgres.url(one.here))
        start, watch = time.monotonic(), Watch(site.url, job)
        site.wait_until(job, BEGIN * arena.units)
        second.unplug()
        time.sleep(1.5 * arena.lease_seconds)
        watch.look()
        second.plug()
        site.end(job)
        facts = f"two workers on two machines, one cut off for {1.5 * arena.lease_seconds:g} s"
        return arena.settle(site, job, watch, start=start, facts=facts)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
