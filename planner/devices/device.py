"""A device as planning asks it: its profile, what was measured on it, and a fingerprint of both."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from planner.devices.profile import DeviceProfile, MemoryPool
from planner.devices.table import LatencyTable


@dataclass(frozen=True)
class Device:
    """The hardware that a plan runs on.

    Attributes:
        profile: rates and memory, for the roofline.
        table: measured latencies, which win wherever they have an entry.
    """

    profile: DeviceProfile
    table: LatencyTable = field(default_factory=LatencyTable)

    @property
    def name(self) -> str:
        """What it is called."""
        return self.profile.name

    @property
    def pools(self) -> tuple[MemoryPool, ...]:
        """Memory pools, the one that is used by default first."""
        return self.profile.pools

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all that latencies are computed from: two devices of one digest give the same plans."""
        profile = self.profile
        facts = (
            [(pool.name, pool.bandwidth.value, pool.size and pool.size.value) for pool in profile.pools],
            sorted((arithmetic.value, figure.value) for arithmetic, figure in profile.peaks.items()),
            profile.kernel_seconds.value,
            profile.bandwidth_share.value,
            [(entry.shape, entry.format, entry.batch, entry.seconds) for entry in self.table.entries],
        )
        return hashlib.sha256(repr(facts).encode()).hexdigest()
