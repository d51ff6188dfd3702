"""The kill test in short: random accidents on both databases, and a full disk; ``make kill-test`` has more, and the rest."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kill.arena import Arena
from tests.kill.chaos import Blows
from tests.kill.disk import may_mount
from tests.kill.faults import full_disk_sqlite
from tests.kill.scenarios import disturbed_postgresql, disturbed_sqlite

UNITS = 30
LEASE_SECONDS = 2.0
UNIT_SECONDS = 0.1
SEED = 4


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    """Not in pytest's temporary folder: that of PostgreSQL's data is opened to the server's own user."""
    folder = Path(tempfile.mkdtemp(prefix="bitplan-kill-"))
    with Arena(folder / "arena", UNITS, LEASE_SECONDS, unit_seconds=UNIT_SECONDS) as arena:
        yield arena
    shutil.rmtree(folder)


def test_random_accidents_on_postgresql(arena: Arena) -> None:
    blows = Blows(worker_kills=2, freezes=1, api_kills=1, crashes=1)
    with arena.postgres() as server:
        outcome = disturbed_postgresql(arena, server, blows=blows, seed=SEED)
    assert outcome.is_good, outcome


def test_random_accidents_on_sqlite(arena: Arena) -> None:
    outcome = disturbed_sqlite(arena, blows=Blows(worker_kills=1, freezes=0, api_kills=1, crashes=0), seed=SEED)
    assert outcome.is_good, outcome


@pytest.mark.skipif(not may_mount(), reason="mounts a small disk, which needs root")
def test_a_full_disk(arena: Arena) -> None:
    outcome = full_disk_sqlite(arena)
    assert outcome.is_good, outcome
