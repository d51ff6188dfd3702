"""Where plans are made for requests: one at a time, in the order in which they came, a few of them a turn, stored together.

A plan is bound by the interpreter, so threads would only take turns at it and drive each other's numbers out of the processor's
cache. Whoever has the turn makes some plans of those that wait and hands the turn on; then whoever stores already stores them
too, or they are stored at once, in one transaction, and the event loop is told of all of them at once: what a turn, a transaction
and a word to the event loop cost is paid once for all. What the models' measurements are is asked once a turn, after all its
requests have come. A plan that takes long keeps nobody waiting: those of its turn that are made are stored, those that are not
begun go to the next one.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Generic, TypeVar, final

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from planner.errors import StorageError
from planner.schemas.plans import PlanRequest
from planner.services.plan_answers import written_plan
from planner.services.plan_store import WrittenPlan, read_together, store_together
from planner.services.preparing import Moment
from planner.storage.database import Database
from planner.storage.failures import is_lost_connection

MOST_LONG: Final = 3
"""Plans that take long which are made beside the others; more of them keep the others waiting."""

LONG_SECONDS: Final = 0.1
"""A plan that is not made by then lets others begin."""

MOST_A_TURN: Final = 8
"""Plans of one turn: each may wait for those before it, and pays an eighth of what they share."""

MOST_TOGETHER: Final = 64
"""Plans of one transaction: about 6 MB of documents of 224 layers."""

TURN_SECONDS: Final = 0.03
"""A turn that has lasted so long begins no further plan."""

READ_TOGETHER: Final = 8
"""Stored plans that are looked up at once."""

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


@final
@dataclass(slots=True, eq=False)
class _Order(Generic[Asked, Answer]):
    """What somebody waits for.

    Attributes:
        asked: the question.
        answer: set by the event loop.
        context: of the request.
    """

    asked: Asked
    answer: "asyncio.Future[Answer]"
    context: Context

    @classmethod
    def of(cls, asked: Asked) -> "_Order[Asked, Answer]":
        return cls(asked, asyncio.get_running_loop().create_future(), copy_context())


_Plan = _Order[PlanRequest, WrittenPlan]
_Answers = Sequence[tuple[_Order[Asked, Answer], Answer | Exception]]


def _tell(answers: _Answers[Asked, Answer]) -> None:
    """On the event loop: to those who still wait."""
    for order, answer in answers:
        if order.answer.done():
            continue
        if isinstance(answer, Exception):
            order.answer.set_exception(answer)
        else:
            order.answer.set_result(answer)


@final
@dataclass(slots=True, eq=False)
class _Turn:
    """What one thread makes, and what the event loop may take from it.

    Attributes:
        waiting: not begun.
        made: not stored.
        until: no plan is begun later.
        began: when the present plan was begun.
        long: the present plan takes long, so that others have the turn already.
    """

    waiting: deque[_Plan]
    until: float
    made: list[tuple[_Plan, WrittenPlan]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    long: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> _Plan | None:
        """The next plan to make, of somebody who still waits for it."""
        with self.lock:
            self.began = time.monotonic()
            while self.waiting and self.began < self.until:
                if not (order := self.waiting.popleft()).answer.cancelled():
                    return order
            return None

    def take_made(self) -> list[tuple[_Plan, WrittenPlan]]:
        """Plans to store, once."""
        made, self.made = self.made, []
        return made


@final
class PlanDesk:
    """Makes, stores and reads plans. For one event loop."""

    def __init__(self, database: Database) -> None:
        """A desk that nobody stands at yet.

        Args:
            database: where curves are read and plans are stored.
        """
        self._database = database
        self._plans: deque[_Plan] = deque()
        self._making = _Threads(self._take_turns, most=2)  # one makes plans while the other one stores what it made
        self._turn = threading.Lock()
        self._made: deque[tuple[_Plan, WrittenPlan]] = deque()
        self._storing = threading.Lock()
        self._turns: list[_Turn] = []
        self._watch: asyncio.TimerHandle | None = None
        self._reads: deque[_Order[str, bytes]] = deque()
        self._reading = _Threads(self._read_all, most=1)

    async def plan(self, request: PlanRequest) -> WrittenPlan:
        """Make a plan and store it for good; raises what ``make_plan`` raises.

        Raises:
            NotFoundError: the model was deleted while the plan was made.
            StorageError: the database cannot be read or written.
        """
        order: _Plan = _Order.of(request)
        self._plans.append(order)
        self._making.wake(self._plans)
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(LONG_SECONDS, self._look_for_long)
        return await order.answer

    async def stored(self, plan_id: str) -> bytes:
        """A stored plan as REST answers it.

        Raises:
            NotFoundError: no such plan.
            StorageError: the database cannot be read.
        """
        order: _Order[str, bytes] = _Order.of(plan_id)
        self._reads.append(order)
        self._reading.wake(self._reads)
        return await order.answer

    def _take_turns(self, tell: Callable[..., object]) -> None:
        """In a thread: make plans and store them, while anybody waits for one."""
        while True:
            self._turn.acquire()
            turn = self._begin_turn()
            if not turn.waiting:
                self._turn.release()
                return
            self._turns.append(turn)
            self._make(turn, tell)
            with turn.lock:
                self._turns.remove(turn)
                self._made.extend(turn.take_made())
                self._plans.extendleft(reversed(turn.waiting))
            if not turn.long:
                self._turn.release()
            self._store_all(tell)
            if turn.long:
                tell(self._ended_long)
                return

    def _begin_turn(self) -> _Turn:
        orders: deque[_Plan] = deque()
        while self._plans and len(orders) < MOST_A_TURN:
            orders.append(self._plans.popleft())
        return _Turn(orders, time.monotonic() + TURN_SECONDS)

    def _make(self, turn: _Turn, tell: Callable[..., object]) -> None:
        order, again = turn.next(), None
        while order is not None:
            try:
                with self._database.read_session(together=False) as session:
                    moment = Moment()
                    while order is not None:
                        made = order.context.run(written_plan, session, order.asked, moment)
                        with turn.lock:
                            turn.made.append((order, made))
                        order = turn.next()
            except Exception as error:  # noqa: BLE001  (whoever waits for the plan gets it, and answers for it)
                if order is not None and order is not again and is_lost_connection(error):
                    again = order
                    continue
                if order is not None:
                    tell(_tell, [(order, error)])
                order = turn.next()

    def _store_all(self, tell: Callable[..., object]) -> None:
        """In a thread: store what is made, unless another thread does: it looks again when it is done."""
        while self._made and self._storing.acquire(blocking=False):
            try:
                self._store([self._made.popleft() for _ in range(min(len(self._made), MOST_TOGETHER))], tell)
            finally:
                self._storing.release()

    def _store(self, made: Sequence[tuple[_Plan, WrittenPlan]], tell: Callable[..., object]) -> None:
        """The statements are traced with the request of the first plan. Whoever left meanwhile has a plan as well."""
        if not made:
            return
        orders, plans = zip(*made, strict=True)
        try:
            kept = orders[0].context.run(store_together, self._database, plans)
        except Exception as error:  # noqa: BLE001  (as above)
            tell(_tell, [(order, error) for order in orders])
        else:
            tell(_tell, [(order, fault or plan) for order, plan, fault in zip(orders, plans, kept, strict=True)])

    def _look_for_long(self) -> None:
        """On the event loop, now and then while plans are made."""
        self._watch = None
        now = time.monotonic()
        for turn in list(self._turns):
            if now - turn.began > LONG_SECONDS and self._making.most < 2 + MOST_LONG:
                self._hand_on(turn)
        if self._plans or self._turns:
            self._watch = asyncio.get_running_loop().call_later(LONG_SECONDS, self._look_for_long)

    def _hand_on(self, turn: _Turn) -> None:
        """Let others have the turn of a plan that takes long, and what is made be stored."""
        with turn.lock:
            if turn.long or turn not in self._turns:
                return
            turn.long = True
            self._made.extend(turn.take_made())
            self._plans.extendleft(reversed(turn.waiting))
            turn.waiting.clear()
        self._making.most += 1
        self._turn.release()
        self._making.wake(self._plans)
        if self._made:
            self._making.run(self._store_all)

    def _ended_long(self) -> None:
        self._making.most -= 1

    def _read_all(self, tell: Callable[..., object]) -> None:
        """In a thread: read stored plans, while anybody waits for one."""
        while self._reads:
            self._read([self._reads.popleft() for _ in range(min(len(self._reads), READ_TOGETHER))], tell)

    def _read(self, orders: Sequence[_Order[str, bytes]], tell: Callable[..., object]) -> None:
        """Together; if one of them cannot be read, each alone."""
        try:
            found = orders[0].context.run(read_together, self._database, [order.asked for order in orders])
        except Exception as error:  # noqa: BLE001  (as above)
            if len(orders) == 1 or isinstance(error, StorageError):
                tell(_tell, [(order, error) for order in orders])
                return
            for order in orders:
                self._read([order], tell)
        else:
            tell(_tell, list(zip(orders, found, strict=True)))


@final
class _Threads:
    """Threads that work off what waits, and go when nothing does. For one event loop."""

    def __init__(self, work: Callable[[Callable[..., object]], None], *, most: int) -> None:
        """No thread yet.

        Args:
            work: runs in a thread until nothing waits; it is given what calls a function on the event loop.
            most: threads at once; may be changed.
        """
        self.most = most
        self._work = work
        self._limiter = CapacityLimiter(most + 2 * MOST_LONG)
        self._tasks: set[asyncio.Task[None]] = set()
        self._working = 0

    def wake(self, waiting: Sequence[object]) -> None:
        """See to it that what waits is worked off."""
        if waiting and self._working < self.most:
            self._working += 1
            self.run(self._work, ended=partial(self._ended, waiting))

    def run(self, work: Callable[[Callable[..., object]], None], *, ended: Callable[..., object] | None = None) -> None:
        """Run something in a thread of its own, of no request: it outlives them."""
        task = asyncio.get_running_loop().create_task(self._run(work), context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if ended is not None:
            task.add_done_callback(ended)

    async def _run(self, work: Callable[[Callable[..., object]], None]) -> None:
        await run_sync(work, asyncio.get_running_loop().call_soon_threadsafe, limiter=self._limiter)

    def _ended(self, waiting: Sequence[object], _task: "asyncio.Task[None]") -> None:
        self._working -= 1
        self.wake(waiting)
