"""When to ask again, and after how long."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import final

import httpx2

# The service, or a proxy before it, says that the request was not worked on, or is not done yet.
_ASK_AGAIN = frozenset({429, 502, 503, 504})
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_BROKEN = (httpx2.ReadError, httpx2.WriteError, httpx2.CloseError, httpx2.RemoteProtocolError)


@final
@dataclass(frozen=True, slots=True)
class Retries:
    """Exponential backoff with jitter; a ``Retry-After`` of the service comes first.

    Every request may be asked again: GET, PUT and DELETE are idempotent, and each POST carries an ``Idempotency-Key`` that is
    the same each time. A timeout of reading is no reason: the work that took so long would only begin again.

    Attributes:
        attempts: how often to ask in all; 1 never asks again.
        stream_attempts: how often in a row to open a stream of events; whoever follows a job of hours waits for a service that
            is restarted, by default about two minutes.
        first_seconds: pause after the first attempt, doubled after each; half of it is random.
        most_seconds: longest pause. A service that asks for a longer one is believed, and not asked again.
        sleep: how to pause.
        uniform: a random number in [0, 1).
        now: the present, for dates in ``Retry-After``.
    """

    attempts: int = 5
    stream_attempts: int = 12
    first_seconds: float = 0.25
    most_seconds: float = 30.0
    sleep: Callable[[float], None] = time.sleep
    uniform: Callable[[], float] = random.random
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def after_error(self, error: httpx2.TransportError, attempt: int) -> bool:
        """Pause if the request is to be asked again after the error of this attempt, counted from 1."""
        if attempt >= self.attempts or not isinstance(error, (*_NOT_SENT, *_BROKEN)):
            return False
        self.sleep(self._backoff(attempt))
        return True

    def after_answer(self, status: int, retry_after: str | None, attempt: int) -> bool:
        """Pause if the request is to be asked again after an answer of this attempt, counted from 1.

        Args:
            status: HTTP status code. A conflict (409) is a reason only with ``Retry-After``: the first attempt of this very
                request is still at work.
            retry_after: the header, in seconds or as a date.
            attempt: counted from 1.
        """
        if attempt >= self.attempts or not (status in _ASK_AGAIN or (status == 409 and retry_after is not None)):
            return False
        asked = self._asked_pause(retry_after)
        if asked > self.most_seconds:
            return False
        self.sleep(max(asked, self._backoff(attempt)))
        return True

    def _backoff(self, attempt: int) -> float:
        return min(self.most_seconds, self.first_seconds * 2.0 ** min(attempt - 1, 30)) * (0.5 + 0.5 * self.uniform())

    def _asked_pause(self, retry_after: str | None) -> float:
        """Seconds that the header asks for; 0 where it says nothing usable."""
        text = (retry_after or "").strip()
        if text.isascii() and text.isdecimal():
            return float(text[:9])
        try:
            date = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return 0.0
        return (date.replace(tzinfo=date.tzinfo or UTC) - self.now()).total_seconds()
