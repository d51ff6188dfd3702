"""Whether the database answers and has this version's schema, asked by machines every few seconds."""

import asyncio
from typing import Final, final

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from planner.errors import StorageError
from planner.storage.database import Database

READY_SECONDS: Final = 3.0


@final
class Readiness:
    """One look at the database at a time, shared by all who ask meanwhile. For one event loop.

    A database that hangs takes one thread, however often it is asked for.
    """

    def __init__(self, database: Database) -> None:
        """Nobody has asked yet.

        Args:
            database: of the service.
        """
        self._database = database
        self._limiter = CapacityLimiter(1)  # a thread of its own: not behind the requests of a busy service
        self._look: asyncio.Task[None] | None = None

    async def check(self) -> None:
        """Wait for the look that is under way, or for a new one.

        Raises:
            StorageError: the database does not answer in time or as it should.
            SchemaVersionError: it is of another version.
        """
        if self._look is None:
            self._look = asyncio.create_task(self._looked())
            self._look.add_done_callback(_heard)
        done, _ = await asyncio.wait({self._look}, timeout=READY_SECONDS)
        if not done:
            msg = f"the database did not answer within {READY_SECONDS:g} seconds"
            raise StorageError(msg)
        done.pop().result()

    async def _looked(self) -> None:
        try:
            await run_sync(self._database.check_version, limiter=self._limiter, abandon_on_cancel=True)
        finally:
            self._look = None


def _heard(look: asyncio.Task[None]) -> None:
    """Whoever waited has gone: what the look ended with is not news for the log."""
    if not look.cancelled():
        look.exception()
