"""Timing: what is counted, and that a table of this machine can be planned with."""

import pytest
import torch
from torch import nn

from planner.devices import Device, Phase, Trust, latency_table, measured_entries
from planner.errors import InvalidRequestError
from planner.runtimes import get_runtime
from planner.worker.torch_cpu import timing
from planner.worker.torch_cpu.kernels import PlainLinear
from planner.worker.torch_cpu.measuring import FORMATS, measure_device, measure_table
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.registry import get_format


class Clock:
    """Seconds that pass only in ``Worker``."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Worker(nn.Module):
    """A layer that takes as long as it is told, a second longer in every call but each third."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        super().__init__()
        self.clock, self.seconds, self.calls = clock, seconds, 0

    def forward(self, _: torch.Tensor) -> None:
        self.calls += 1
        self.clock.now += self.seconds + (self.calls % 3 > 0)


def test_the_best_round_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(timing, "clock", lambda _: clock)
    workers = {"a": [Worker(clock, 0.25)], "b": [Worker(clock, 3.0)]}
    found = timing.time_in_turn(workers, {"a": torch.zeros(1), "b": torch.zeros(1)}, threads=1)
    assert found["a"].seconds == pytest.approx(0.25)
    assert found["a"].standard_deviation == pytest.approx(0.5, rel=0.01)
    assert found["b"].seconds == pytest.approx(3.0)


def test_modules_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round of short calls goes through all of them, so that none is still in a cache."""
    clock = Clock()
    monkeypatch.setattr(timing, "clock", lambda _: clock)
    workers = [Worker(clock, 1e-3 - 1) for _ in range(5)]
    for worker in workers:
        worker.calls = 1
    timing.time_in_turn({"a": workers}, {"a": torch.zeros(1)}, threads=1)
    assert len({worker.calls for worker in workers}) == 1


def test_copies_are_larger_than_the_cache() -> None:
    layers = {"a": PlainLinear(torch.zeros(1024, 1024)), "b": PlainLinear(torch.zeros(512, 1024))}
    copies = [copy for found in timing.copies_of(layers).values() for copy in found]
    assert sum(buffer.nbytes for copy in copies for buffer in copy.buffers()) >= 4 * timing.last_level_cache()
    pointers = {buffer.data_ptr() for copy in copies for buffer in copy.buffers()}
    assert len(pointers) == len(copies)
    assert timing.last_level_cache() >= 2**20


def test_a_measured_table_can_be_planned_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "last_level_cache", lambda: 2**16)
    monkeypatch.setattr(timing, "ROUND_SECONDS", 1e-3)
    told: list[str] = []
    before = torch.get_num_threads()
    document = measure_table([(32, 128), (16, 96)], batches=(1, 3), threads=1, progress=told.append)
    assert torch.get_num_threads() == before
    assert told[0] == "32 × 128: FP32, BF16, INT8_CHANNEL, INT4_G32, INT4_G64, INT4_G128"
    assert len(document.entries) == 2 * (len(FORMATS) + 4)
    assert all(0 < entry.seconds < 1 for entry in document.entries)
    assert (document.threads, document.software) == (1, f"torch {torch.__version__}")
    layers = [Layer("a", "q_proj", 0, None, 32, 128), Layer("b", "o_proj", 0, None, 64, 128)]
    formats = [get_format("INT4_G64"), get_format("BF16")]
    device = Device(measure_device("here").profile(), document.table())
    assert device.profile.kernel_seconds.status is Trust.MEASURED
    assert measured_entries(device, layers, formats).tolist() == [[True, True], [False, False]]
    found = latency_table(device, layers, formats, get_runtime("torch-cpu"), phase=Phase.DECODE)
    assert (found > 0).all()


def test_what_has_no_kernel_is_not_timed() -> None:
    with pytest.raises(InvalidRequestError, match="INT3_G64"):
        measure_table([(32, 128)], formats=["INT3_G64"])
    with pytest.raises(InvalidRequestError, match="any of these shapes"):
        measure_table([(17, 17)], formats=["INT4_G64"])
