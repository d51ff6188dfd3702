"""Times of pieces of work that take turns, so that other work on the machine slows all of them alike."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Wall and processor seconds by label, summed over turns."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = defaultdict(float)
        self.processor: dict[str, float] = defaultdict(float)

    @contextmanager
    def timed(self, label: str) -> Iterator[None]:
        """Add what happens inside to the label."""
        wall, processor = time.perf_counter(), time.process_time()
        yield
        self.wall[label] += time.perf_counter() - wall
        self.processor[label] += time.process_time() - processor

    def ratio(self, *parts: str, bare: str) -> float:
        """Processor time of the parts together ÷ that of ``bare``: other work on the machine does not count there."""
        return sum(self.processor[part] for part in parts) / self.processor[bare]

    def report(self, title: str, *parts: str, bare: str) -> str:
        """One line for each label and the ratio."""
        lines = [f"{label:>22} {self.wall[label]:7.1f} s wall {self.processor[label]:7.1f} s processor" for label in self.wall]
        return "\n".join(["", title, *lines, f"{'ratio':>22} {self.ratio(*parts, bare=bare):7.2f}"])
