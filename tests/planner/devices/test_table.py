"""Measured tables: between, below and beyond the batches that were measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.devices import LatencyEntry, LatencyTable

SHAPE = (64, 128)
SECONDS = st.floats(1e-9, 10)
LINES = st.dictionaries(st.integers(1, 1000), SECONDS, min_size=1, max_size=6)


def table_of(line: dict[int, float]) -> LatencyTable:
    return LatencyTable(LatencyEntry(SHAPE, "BF16", batch, seconds) for batch, seconds in line.items())


def test_the_times_between_are_on_a_straight_line() -> None:
    table = table_of({8: 5e-5, 2: 2e-5})
    assert table.seconds(SHAPE, "BF16", 4) == pytest.approx(3e-5)
    assert table.seconds(SHAPE, "BF16", 2.6) == pytest.approx(2.3e-5)
    assert table.seconds(SHAPE, "BF16", 1) == 2e-5
    assert table.seconds(SHAPE, "BF16", 16) == pytest.approx(10e-5)
    assert table.seconds(SHAPE, "FP16", 2) is None
    assert table.seconds((128, 64), "BF16", 2) is None
    assert LatencyTable().seconds(SHAPE, "BF16", 1) is None


@given(LINES, st.floats(1, 2000))
def test_measured_times_are_kept_and_others_lie_between_their_neighbours(line: dict[int, float], rows: float) -> None:
    table = table_of(line)
    assert all(table.seconds(SHAPE, "BF16", batch) == seconds for batch, seconds in line.items())
    found = table.seconds(SHAPE, "BF16", rows)
    assert found is not None
    below = [line[batch] for batch in [max([b for b in line if b <= rows], default=min(line))]]
    above = [line[b] for b in sorted(line) if b >= rows][:1]
    if above:
        assert min(*below, *above) * (1 - 1e-12) <= found <= max(*below, *above) * (1 + 1e-12)
    else:
        assert found == pytest.approx(line[max(line)] * rows / max(line))
