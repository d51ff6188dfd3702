"""Measuring this machine: a latency table of its linear kernels, and the figures of its roofline."""

import platform
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psutil
import torch
from torch import nn

from planner.devices import Arithmetic, Trust
from planner.devices.table import Shape
from planner.errors import InvalidRequestError
from planner.runtimes.torch_cpu import KERNELS, RUNTIME
from planner.schemas.devices import CreateDevice, FigureDocument, LatencyDocument, LatencyTableDocument, PoolDocument
from planner.worker.torch_cpu.kernels import ACTIVATIONS, PlainLinear, kernel_linear
from planner.worker.torch_cpu.timing import copies_of, last_level_cache, time_calls, torch_threads
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.registry import get_format
from sensitivity.rounding.rtn import encode

PLAIN: Final = "FP32"
FORMATS: Final = (PLAIN, *KERNELS)
"""What is timed: float32 with float32 activations, and the formats of the runtime ``torch-cpu``."""
SHAPES: Final[Sequence[Shape]] = ((1024, 1024), (2048, 2048), (4096, 1024), (1024, 4096))
BATCHES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_PROBE: Final = 1024
_READ_BYTES: Final = 2**28


def formats_for(shape: Shape, formats: Iterable[str]) -> list[str]:
    """Those of some formats that have a kernel for a shape.

    Raises:
        InvalidRequestError: a format that no kernel is known for.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        msg = f"torch has no kernel for {', '.join(unknown)} on a processor: use {', '.join(FORMATS)}"
        raise InvalidRequestError(msg)
    layer = Layer("", "", None, None, *shape)
    return [name for name in formats if name == PLAIN or RUNTIME.refusal(get_format(name), layer) is None]


def measure_table(
    shapes: Sequence[Shape],
    *,
    formats: Sequence[str] = FORMATS,
    batches: Sequence[int] = BATCHES,
    threads: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> LatencyTableDocument:
    """Time each format's kernel on each shape at each batch.

    Weights are made up. Copies of them take turns, so that they come from memory as in a model.

    Args:
        shapes: (out, in) of layers.
        formats: of the weights, of ``FORMATS``.
        batches: rows of activations.
        threads: of a kernel.
        progress: told what was measured.

    Raises:
        InvalidRequestError: a format that no kernel is known for, or none for any of the shapes.
    """
    entries = []
    with torch_threads(threads):
        for shape in shapes:
            for name in formats_for(shape, formats):
                entries += _measure(shape, name, batches, threads)
                progress(f"{shape[0]} × {shape[1]} {name}")
    if not entries:
        msg = "torch has no kernel for any of these shapes in these formats: name others"
        raise InvalidRequestError(msg)
    return LatencyTableDocument(
        entries=entries,
        processor=processor_name(),
        threads=threads,
        software=f"torch {torch.__version__}",
        method=_method(threads),
        measured_at=datetime.now(UTC),
    )


def measure_device(name: str, *, threads: int = 1) -> CreateDevice:
    """This machine's processor as a device: what the roofline takes where a table has no entry.

    Bandwidth is that of summing 256 MiB, peaks are those of a product of matrices of 1024 × 1024, the overhead that of a layer
    of 16 × 16.

    Args:
        name: what to call it.
        threads: of a kernel.
    """
    source = f"bitplan device measure: {threads} thread{'s' * (threads > 1)}, torch {torch.__version__}"
    with torch_threads(threads):
        numbers = torch.ones(_READ_BYTES // 4)
        reading = time_calls([_Sum(), _Sum()], numbers, threads=threads).seconds
        overhead = time_calls([PlainLinear(torch.zeros(16, 16))] * 2000, torch.zeros(1, 16), threads=threads).seconds
        peaks = {arithmetic: _peak(dtype, threads) for arithmetic, dtype in _ARITHMETIC.items()}

    def figure(value: float, how: str) -> FigureDocument:
        return FigureDocument(value=value, source=f"{source}; {how}", status=Trust.MEASURED)

    size = FigureDocument(value=float(psutil.virtual_memory().total), source="the operating system", status=Trust.MEASURED)
    bandwidth = figure(_READ_BYTES / reading, f"summing {_READ_BYTES // 2**20} MiB")
    return CreateDevice(
        name=name,
        description=f"{processor_name()}, {threads} thread{'s' * (threads > 1)}"[:300],
        pools=[PoolDocument(name="ram", bandwidth=bandwidth, size=size)],
        peaks={arithmetic: figure(peak, f"a product of {_PROBE} × {_PROBE}") for arithmetic, peak in peaks.items()},
        kernel_seconds=figure(min(overhead, 1.0), "a layer of 16 × 16"),
        bandwidth_share=figure(1.0, "the bandwidth is what was reached"),
    )


_ARITHMETIC: Final = {Arithmetic.FP32: torch.float32, Arithmetic.BF16: torch.bfloat16}


class _Sum(nn.Module):
    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return numbers.sum()


def _peak(dtype: torch.dtype, threads: int) -> float:
    layer = PlainLinear(torch.ones(_PROBE, _PROBE, dtype=dtype))
    seconds = time_calls([layer, layer], torch.ones(_PROBE, _PROBE, dtype=dtype), threads=threads).seconds
    return 2 * _PROBE**3 / seconds


def _measure(shape: Shape, name: str, batches: Sequence[int], threads: int) -> list[LatencyDocument]:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    layer = PlainLinear(weight) if name == PLAIN else kernel_linear(encode(weight, get_format(name)))
    layers = copies_of(layer)
    dtype = torch.float32 if name == PLAIN else ACTIVATIONS
    found = []
    for batch in batches:
        timing = time_calls(layers, torch.ones(batch, shape[1], dtype=dtype), threads=threads)
        found.append(
            LatencyDocument(
                out_features=shape[0],
                in_features=shape[1],
                format=name,
                batch=batch,
                seconds=timing.seconds,
                standard_deviation=timing.standard_deviation,
            )
        )
    return found


def _method(threads: int) -> str:
    clock = "processor time of the thread" if threads == 1 else "wall time"
    kernels = "; ".join(f"{name} {kernel}" for name, kernel in ({PLAIN: "aten::linear"} | KERNELS).items())
    return (
        f"{clock}; best round after a warm-up; copies of the weights take turns, together 4 times the last-level cache of "
        f"{last_level_cache() // 2**20} MiB, so that they come from memory; kernels: {kernels}"
    )


def processor_name() -> str:
    """Name of the processor, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = named[0] if named else platform.processor() or platform.machine()
    return "".join(letter for letter in name if letter.isprintable())[:200]
