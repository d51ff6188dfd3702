"""How often somebody may ask: a token bucket each."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import final

_REMEMBERED = 10_000


@final
class TokenBuckets:
    """A bucket for each name: it holds ``burst`` tokens, is filled at ``rate`` tokens a second, and a request takes one.

    A full bucket is as good as none, so those that were not touched for longest are forgotten. For one event loop, which no
    method lets go of.
    """

    def __init__(self, rate: float, burst: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        """All buckets are full.

        Args:
            rate: tokens a second, above 0.
            burst: tokens of a full bucket, at least 1.
            clock: seconds that never go back.
        """
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> float:
        """Take a token.

        Args:
            name: whose bucket.

        Returns:
            0 if there was one, else the seconds until there will be.
        """
        now = self._clock()
        tokens, since = self._buckets.get(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
        self._buckets[name] = (tokens if wait else tokens - 1, now)
        self._buckets.move_to_end(name)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return wait
