"""Times of linear kernels as a model meets them: weights that no cache holds, one after the other."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

MOST_COPIES: Final = 512
ROUND_SECONDS: Final = 0.03
_ROUNDS: Final = 9
_CACHES: Final = 4
_LEAST_CACHE: Final = 32 * 2**20
_MOST_BYTES: Final = 2**30


@dataclass(frozen=True, slots=True)
class Timing:
    """Time of one call.

    Attributes:
        seconds: mean of the best round.
        standard_deviation: of the means of the rounds.
    """

    seconds: float
    standard_deviation: float


def last_level_cache() -> int:
    """Bytes of the processor's largest cache; 32 MiB where the system does not say."""
    found = [_LEAST_CACHE]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        found.append(int(text[:-1]) * {"K": 2**10, "M": 2**20}[text[-1]] if text[-1:] in ("K", "M") else 0)
    return max(found)


def copies_of(module: nn.Module) -> list[nn.Module]:
    """So many copies of a layer that together they are several times larger than the last-level cache.

    Whoever runs them in turn reads every weight from memory, as each token of a model does.
    """
    size = sum(buffer.nbytes for buffer in module.buffers())
    wanted = min(_CACHES * last_level_cache(), _MOST_BYTES)
    count = min(MOST_COPIES, max(2, math.ceil(wanted / max(size, 1))))
    return [module, *(deepcopy(module) for _ in range(count - 1))]


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """So many threads for each kernel."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def clock(threads: int) -> Callable[[], float]:
    """Seconds of the processor for one thread, which other work on the machine does not count in; else of the wall."""
    return time.thread_time if threads == 1 else time.perf_counter


@torch.inference_mode()
def time_calls(modules: Sequence[nn.Module], inputs: Tensor, *, threads: int) -> Timing:
    """Time of one call, over calls of all modules in turn.

    Each is called once before; then rounds of some calls go on through the modules where the last one stopped, and the best
    round counts: other work can only make a round slower.

    Args:
        modules: layers of one kernel and shape.
        inputs: what each is given.
        threads: of a kernel; the caller has set them.
    """
    now = clock(threads)
    start = now()
    for module in modules:
        module(inputs)
    once = max((now() - start) / len(modules), 1e-7)
    calls = max(1, min(len(modules), int(ROUND_SECONDS / once)))
    turn = cycle(modules)
    rounds = []
    for _ in range(_ROUNDS):
        of_round = list(islice(turn, calls))
        start = now()
        for module in of_round:
            module(inputs)
        rounds.append((now() - start) / calls)
    return Timing(min(rounds), statistics.stdev(rounds))
