"""Where plans are made for requests: one at a time, in the order in which they came, and stored together.

A plan is bound by the interpreter, so threads would only take turns at it and drive each other's numbers out of the processor's
cache; one that takes long lets others begin. Plans that are made while a transaction is being committed wait for the next one,
all in one: a database has one writer, or one disk, and what a transaction costs is paid once for all of them.
"""

import asyncio
from collections.abc import Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import partial
from typing import Final, final

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from planner.schemas.plans import PlanRequest
from planner.services.plan_store import WrittenPlan, plan_json, store_together
from planner.services.plans import make_plan
from planner.storage.database import Database

MOST_THREADS: Final = 4
"""Threads that make plans, at most: one, and one more for each plan that takes long."""

LONG_SECONDS: Final = 0.1
"""A plan that is not made by then lets the next one begin."""

READERS: Final = 2

MOST_TOGETHER: Final = 64
"""Plans of one transaction: about 6 MB of documents of 224 layers."""


@final
@dataclass(frozen=True, slots=True)
class _Waiting:
    """A plan on its way into the database.

    Attributes:
        plan: as it will be stored.
        stored: done when it is there for good.
        context: of its request.
    """

    plan: WrittenPlan
    stored: "asyncio.Future[None]"
    context: Context


@final
@dataclass(slots=True)
class _Began:
    """A plan that is being made, and how many others were let begin because of it."""

    others: int = 0


@final
class PlanDesk:
    """Makes and stores plans. For one event loop."""

    def __init__(self, database: Database) -> None:
        """A desk that nobody stands at yet.

        Args:
            database: where curves are read and plans are stored.
        """
        self._database = database
        self._turn = CapacityLimiter(1)
        self._making = CapacityLimiter(MOST_THREADS)
        self._reading = CapacityLimiter(READERS)
        self._storing = CapacityLimiter(1)
        self._waiting: list[_Waiting] = []
        self._writer: asyncio.Task[None] | None = None

    async def plan(self, request: PlanRequest) -> WrittenPlan:
        """Make a plan and store it for good; raises what ``make_plan`` raises.

        Raises:
            NotFoundError: the model was deleted while the plan was made.
            StorageError: the database cannot be read or written.
        """
        async with self._turn:
            long = asyncio.get_running_loop().call_later(LONG_SECONDS, self._let_another_begin, began := _Began())
            try:
                made = await run_sync(self._make, request, limiter=self._making)
            finally:
                long.cancel()
                self._turn.total_tokens -= began.others
        await self._store(made)
        return made

    def _let_another_begin(self, began: "_Began") -> None:
        if self._turn.total_tokens < MOST_THREADS:
            self._turn.total_tokens += 1
            began.others = 1

    async def stored(self, plan_id: str) -> str:
        """A stored plan as REST answers it.

        Raises:
            NotFoundError: no such plan.
            StorageError: the database cannot be read.
        """
        return await run_sync(self._read, plan_id, limiter=self._reading)

    def _read(self, plan_id: str) -> str:
        with self._database.read_session(together=False) as session:
            return plan_json(session, plan_id)

    def _make(self, request: PlanRequest) -> WrittenPlan:
        with self._database.read_session(together=False) as session:
            return WrittenPlan.of(make_plan(session, request))

    async def _store(self, plan: WrittenPlan) -> None:
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(plan, stored, copy_context()))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), context=Context())  # of no request: it outlives them
        await stored

    async def _write(self) -> None:
        """Store those who wait until nobody does. Whoever left meanwhile is stored as well, as a request without patience is."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
                await self._write_batch(batch)
        finally:
            self._writer = None

    async def _write_batch(self, batch: Sequence[_Waiting]) -> None:
        """The statements are traced with the request of the first plan, which alone is sure to be there."""
        store = partial(batch[0].context.run, store_together, self._database, [waiting.plan for waiting in batch])
        try:
            missing = await run_sync(store, limiter=self._storing)
        except Exception as error:  # noqa: BLE001  (each of those who wait gets it, and answers for it)
            for waiting in batch:
                _fail(waiting.stored, error)
            return
        for waiting, gone in zip(batch, missing, strict=True):
            if gone is not None:
                _fail(waiting.stored, gone)
            elif not waiting.stored.done():
                waiting.stored.set_result(None)


def _fail(stored: "asyncio.Future[None]", error: Exception) -> None:
    if not stored.done():
        stored.set_exception(error)
