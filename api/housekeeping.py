"""What a running service does once a minute: note when keys were used, and forget answers that nobody may repeat any more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from starlette.concurrency import run_in_threadpool

from api.callers import Keyring
from planner.errors import StorageError
from planner.services.idempotency import forget_old_answers
from planner.storage.database import Database

_SECONDS = 60.0
_LOG = structlog.get_logger("api")


@asynccontextmanager
async def housekeeping(database: Database, keyring: Keyring, *, seconds: float = _SECONDS) -> AsyncIterator[None]:
    """Keep house while the block runs, and write the last uses of keys at its end.

    Args:
        database: of the service.
        keyring: whose uses are written.
        seconds: between two rounds.
    """
    rounds = asyncio.create_task(_rounds(database, keyring, seconds))
    try:
        yield
    finally:
        rounds.cancel()
        with suppress(asyncio.CancelledError):
            await rounds
        await run_in_threadpool(_tidy, database, keyring)


async def _rounds(database: Database, keyring: Keyring, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        await run_in_threadpool(_tidy, database, keyring)


def _tidy(database: Database, keyring: Keyring) -> None:
    """One round. A database that does not answer is a matter for the log; the next round tries again."""
    try:
        keyring.write_uses()
        with database.session() as session:
            forget_old_answers(session)
    except StorageError as error:
        _LOG.warning("housekeeping waits for the database", reason=str(error))
