"""The kill test in short: fewer units and accidents than ``make kill-test``, and of the faults one of each kind."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kill.arena import Arena
from tests.kill.chaos import Blows
from tests.kill.disk import may_mount
from tests.kill.faults import clock_jumps, full_disk_sqlite, read_only_postgresql
from tests.kill.postgres import Postgres
from tests.kill.scenarios import disturbed_postgresql, disturbed_sqlite, poison_unit

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


@pytest.fixture(scope="module")
def postgres(arena: Arena) -> Iterator[Postgres]:
    with arena.postgres() as server:
        yield server


def test_random_accidents_on_postgresql(arena: Arena, postgres: Postgres) -> None:
    blows = Blows(worker_kills=2, freezes=1, api_kills=1, crashes=1)
    outcome = disturbed_postgresql(arena, postgres, blows=blows, seed=SEED)
    assert outcome.is_good, outcome


def test_random_accidents_on_sqlite(arena: Arena) -> None:
    outcome = disturbed_sqlite(arena, blows=Blows(worker_kills=2, freezes=0, api_kills=1, crashes=0), seed=SEED)
    assert outcome.is_good, outcome


def test_a_poison_unit(arena: Arena) -> None:
    outcome = poison_unit(arena, "poison", arena.sqlite("poison"))
    assert outcome.is_good, outcome


@pytest.mark.skipif(not may_mount(), reason="mounts a small disk, which needs root")
def test_a_full_disk(arena: Arena) -> None:
    outcome = full_disk_sqlite(arena)
    assert outcome.is_good, outcome


def test_a_server_that_is_read_only_for_a_while(arena: Arena, postgres: Postgres) -> None:
    outcome = read_only_postgresql(arena, postgres)
    assert outcome.is_good, outcome


def test_a_clock_that_jumps_a_day(arena: Arena) -> None:
    outcome = clock_jumps(arena, "clock", arena.sqlite("clock"))
    assert outcome.is_good, outcome
