"""Times of linear kernels as a model meets them: weights that no cache holds, one after the other."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

MOST_COPIES: Final = 512
ROUND_SECONDS: Final = 0.03
_ROUNDS: Final = 9
_CACHES: Final = 4
_LEAST_CACHE: Final = 32 * 2**20
MOST_BYTES: Final = 2**30


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


def copies_of(modules: Mapping[str, nn.Module]) -> dict[str, list[nn.Module]]:
    """So many copies of some layers that all of them together are 4 times larger than the last-level cache.

    Whoever runs them in turn reads every weight from memory, as each token of a model does. At most 512 copies of each and 1 GiB
    are made (but never fewer than two): weights of small layers stay in the cache, which their kernels' overhead outweighs.
    """
    size = sum(buffer.nbytes for module in modules.values() for buffer in module.buffers())
    wanted = min(_CACHES * last_level_cache(), MOST_BYTES)
    count = min(MOST_COPIES, max(2, math.ceil(wanted / max(size, 1))))
    return {name: [module, *(deepcopy(module) for _ in range(count - 1))] for name, module in modules.items()}


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
def time_in_turn(modules: Mapping[str, Sequence[nn.Module]], inputs: Mapping[str, Tensor], *, threads: int) -> dict[str, Timing]:
    """Time of one call of each of several layers, over calls of all of them in turn.

    The layers of a plan are of several formats, and a kernel is slower after another kernel than after itself: so each call is
    timed alone, and the formats take turns. Each copy is called once before; then rounds of some calls go on where the last one
    stopped, and the best round counts: other work can only make a round slower.

    Args:
        modules: copies of each layer, by name.
        inputs: what each is given.
        threads: of a kernel; the caller has set them.
    """
    now = clock(threads)
    start = now()
    for name, copies in modules.items():
        for module in copies:
            module(inputs[name])
    count = max(map(len, modules.values()))
    once = max((now() - start) / sum(map(len, modules.values())), 1e-7)
    calls = max(1, min(count, int(ROUND_SECONDS / once)))
    turns = [(name, cycle(copies)) for name, copies in modules.items()]
    rounds = [_round(turns, inputs, calls, now) for _ in range(_ROUNDS)]
    return {name: _timing([found[name] for found in rounds]) for name in modules}


def _round(
    turns: Sequence[tuple[str, Iterator[nn.Module]]], inputs: Mapping[str, Tensor], calls: int, now: Callable[[], float]
) -> dict[str, float]:
    """Mean time of a call, by name."""
    sums = dict.fromkeys((name for name, _ in turns), 0.0)
    for _ in range(calls):
        for name, copies in turns:
            module, given = next(copies), inputs[name]
            start = now()
            module(given)
            sums[name] += now() - start
    return {name: seconds / calls for name, seconds in sums.items()}


def _timing(rounds: Sequence[float]) -> Timing:
    return Timing(min(rounds), statistics.stdev(rounds))
