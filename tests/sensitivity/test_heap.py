"""Memory that is given back."""

import sys
from pathlib import Path

import pytest

from sensitivity.heap import give_back


def _resident() -> int:
    """Bytes of this process's own memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
def test_holes_in_the_heap_are_given_back() -> None:
    """Every second of many blocks is freed, so that none of the holes is at the heap's end."""
    blocks: list[bytearray | None] = [bytearray(b"1" * 60_000) for _ in range(2000)]
    for index in range(0, len(blocks), 2):
        blocks[index] = None
    before = _resident()
    give_back()
    assert before - _resident() > 30_000_000
    assert all(block is None or block == bytearray(b"1" * 60_000) for block in blocks)
