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
from planner.worker.torch_cpu.timing import MOST_BYTES, MOST_COPIES, copies_of, last_level_cache, time_in_turn, torch_threads
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

    Weights are made up. Formats and copies of their weights take turns, so that weights come from memory and kernels follow
    others, as in a model.

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
            names = formats_for(shape, formats)
            entries += _measure(shape, names, batches, threads)
            progress(f"{shape[0]} × {shape[1]}: {', '.join(names) or 'no kernel'}")
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
        reading = _seconds(_Sum(), torch.ones(_READ_BYTES // 4), threads)
        overhead = _seconds(PlainLinear(torch.zeros(16, 16)), torch.zeros(1, 16), threads, repeats=2000)
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
    return 2 * _PROBE**3 / _seconds(layer, torch.ones(_PROBE, _PROBE, dtype=dtype), threads)


def _seconds(module: nn.Module, inputs: torch.Tensor, threads: int, *, repeats: int = 2) -> float:
    return time_in_turn({"": [module] * repeats}, {"": inputs}, threads=threads)[""].seconds


def _measure(shape: Shape, names: Sequence[str], batches: Sequence[int], threads: int) -> list[LatencyDocument]:
    if not names:
        return []
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    layers = {name: PlainLinear(weight) if name == PLAIN else kernel_linear(encode(weight, get_format(name))) for name in names}
    copies = copies_of(layers)
    found = []
    for batch in batches:
        rows = {name: torch.ones(batch, shape[1], dtype=torch.float32 if name == PLAIN else ACTIVATIONS) for name in names}
        found += [
            LatencyDocument(
                out_features=shape[0],
                in_features=shape[1],
                format=name,
                batch=batch,
                seconds=timing.seconds,
                standard_deviation=timing.standard_deviation,
            )
            for name, timing in time_in_turn(copies, rows, threads=threads).items()
        ]
    return found


def _method(threads: int) -> str:
    clock = "processor time of the thread" if threads == 1 else "wall time"
    kernels = "; ".join(f"{name} {kernel}" for name, kernel in ({PLAIN: "aten::linear"} | KERNELS).items())
    return (
        f"{clock} of each call; mean of the best round after a warm-up; formats, and copies of their weights, take turns, "
        f"together 4 times the last-level cache of {last_level_cache() // 2**20} MiB, so that weights come from memory (at most "
        f"{MOST_COPIES} copies and {MOST_BYTES // 2**30} GiB, so that those of small layers do not); "
        f"kernels: {kernels}"
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
