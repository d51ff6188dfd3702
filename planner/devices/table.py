"""Measured latencies of linear layers: shape, format and batch to seconds."""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

LATENCY_FORMATS: Final = {"bfloat16": "BF16", "float16": "FP16", "float32": "FP32"}
"""Names of unquantized layers in a table, by dtype of the model. FP32 is no candidate format: nothing is planned in it."""

Shape = tuple[int, int]


@dataclass(frozen=True, slots=True)
class LatencyEntry:
    """One measured kernel.

    Attributes:
        shape: (out, in) of the layer.
        format: name of the format that the weights are stored in.
        batch: rows of activations, at least 1.
        seconds: time of the kernel, its best.
        standard_deviation: of the repetitions, in seconds; ``None`` where it is not known.
    """

    shape: Shape
    format: str
    batch: int
    seconds: float
    standard_deviation: float | None = None


class LatencyTable:
    """What was measured on a device, asked by shape, format and batch. Immutable."""

    def __init__(self, entries: Iterable[LatencyEntry] = ()) -> None:
        """A table of entries.

        Args:
            entries: each (shape, format, batch) at most once.
        """
        self.entries: Final = tuple(sorted(entries, key=lambda one: (one.shape, one.format, one.batch)))
        lines: dict[tuple[Shape, str], list[LatencyEntry]] = defaultdict(list)
        for entry in self.entries:
            lines[entry.shape, entry.format].append(entry)
        self._lines: Final[Mapping[tuple[Shape, str], list[LatencyEntry]]] = MappingProxyType(dict(lines))

    def __len__(self) -> int:
        return len(self.entries)

    def seconds(self, shape: Shape, fmt: str, rows: float) -> float | None:
        """Time of a layer, or ``None`` where nothing of its shape and format was measured.

        Between two measured batches the time is on the straight line between them. Beyond the largest the rate of the largest
        goes on (twice the rows take twice the time); below the smallest the time is the smallest's. Both are on the safe side
        as long as a larger batch is no less efficient.

        Args:
            shape: (out, in).
            fmt: name of the format.
            rows: of activations; a mean over an expert's batches need not be whole.
        """
        line = self._lines.get((shape, fmt))
        if line is None:
            return None
        place = bisect_left(line, rows, key=lambda one: one.batch)
        if place == 0:
            return line[0].seconds
        before = line[place - 1]
        if place == len(line):
            return before.seconds * rows / before.batch
        after = line[place]
        share = (rows - before.batch) / (after.batch - before.batch)
        return math.fsum((before.seconds * (1 - share), after.seconds * share))
