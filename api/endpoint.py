"""How an operation is declared: which scope it needs, what may be kept of its answer, and POSTs that can be repeated.

An ``Idempotency-Key`` on a POST makes a retry safe: the answer is written in the transaction of what the request did, and who
sends the same request again gets that answer. A refused or failed request is not kept: it changed nothing, so a retry may
succeed.
"""

import re
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from api.answers import json_answer
from api.callers import caller_of
from planner.errors import InvalidRequestError
from planner.schemas.keys import AccessScope
from planner.services.idempotency import KeptAnswer, OvertakenError, RepeatableRequest, find_answer, keep_answer, reserve
from planner.storage.database import Database

KEY_HEADER = "idempotency-key"
REPLAYED_HEADER = "idempotency-replayed"
KEY_PATTERN = r"^[\x20-\x7e]{1,255}$"
_USABLE = re.compile(KEY_PATTERN)
_SCOPE, _IMMUTABLE, _DIRECT = "bitplan_scope", "bitplan_immutable", "bitplan_direct"
_repeatable: ContextVar[RepeatableRequest | None] = ContextVar("repeatable", default=None)
Function = TypeVar("Function", bound=Callable[..., Any])


def needs(scope: AccessScope | None) -> Callable[[Function], Function]:
    """Declare the scope of an operation; ``None`` for one that is open to everybody.

    An operation without a declaration needs ``read`` if it is a GET, and ``admin`` otherwise.
    """

    def declare(function: Function) -> Function:
        setattr(function, _SCOPE, scope)
        return function

    return declare


def needed_scope(function: Callable[..., Any], method: str) -> AccessScope | None:
    """The scope that an operation needs; ``None`` if it is open to everybody."""
    default = AccessScope.READ if method in ("GET", "HEAD") else AccessScope.ADMIN
    scope: AccessScope | None = getattr(function, _SCOPE, default)
    return scope


def immutable(function: Function) -> Function:
    """Declare that an answer of this operation is the same for ever: who has it need not ask again."""
    setattr(function, _IMMUTABLE, True)
    return function


def is_immutable(function: Callable[..., Any] | None) -> bool:
    """Whether answers of this operation are the same for ever."""
    return getattr(function, _IMMUTABLE, False)


Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Direct = Callable[[Request], Coroutine[Any, Any, Response | None]]


def answered_by(direct: Direct) -> Callable[[Function], Function]:
    """Declare what answers most requests of an operation that is asked by the hundred, past FastAPI's own reading of them.

    Args:
        direct: the answer; ``None`` for a request that is unusual, or wrong in a way that FastAPI should tell. It gets no request
            with an ``Idempotency-Key``.
    """

    def declare(function: Function) -> Function:
        setattr(function, _DIRECT, direct)
        return function

    return declare


class Endpoint(APIRoute):
    """The route class of every router with a POST: those take an ``Idempotency-Key``."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if "POST" in (options.get("methods") or ()):
            endpoint = _once(endpoint, options.get("status_code") or 200)
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Handler:
        """FastAPI's handler, asked only if the request was not answered before, and not directly."""
        usual = super().get_route_handler()
        handle = _directly(getattr(self.endpoint, _DIRECT, None), usual)

        async def handle_once(request: Request) -> Response:
            key = request.headers.get(KEY_HEADER)
            if key is None:
                return await handle(request)
            return await _answer_once(usual, request, key)

        return handle_once if "POST" in (self.methods or ()) else handle


def _directly(direct: Direct | None, handle: Handler) -> Handler:
    if direct is None:
        return handle

    async def answer(request: Request) -> Response:
        return await direct(request) or await handle(request)

    return answer


async def _answer_once(handle: Handler, request: Request, key: str) -> Response:
    if not _USABLE.fullmatch(key):
        msg = "an Idempotency-Key has 1 to 255 printable ASCII characters; a fresh UUID is a good one"
        raise InvalidRequestError(msg)
    target = (request.url.path, request.url.query)
    content = (request.method.encode(), *(part.encode() for part in target), await request.body())
    repeatable = RepeatableRequest.of(caller_of(request.scope).owner, key, *content)
    database: Database = request.app.state.database
    answer = await run_in_threadpool(_find, database, repeatable)
    if answer is None:
        token = _repeatable.set(repeatable)
        try:
            return await handle(request)
        except OvertakenError:
            answer = await run_in_threadpool(_find, database, repeatable)
            if answer is None:
                raise
        finally:
            _repeatable.reset(token)
    return Response(answer.body, answer.status, {**answer.headers, REPLAYED_HEADER: "true"})


def _find(database: Database, request: RepeatableRequest) -> KeptAnswer | None:
    with database.read_session() as session:
        return find_answer(session, request)


def _once(endpoint: Callable[..., Any], status: int) -> Callable[..., Any]:
    """The endpoint, with all that it writes and the answer in one transaction where the request can be repeated.

    It runs in the endpoint's own thread: a transaction that waited for another turn in the threads would wait for those who
    wait for it.
    """

    @wraps(endpoint)
    def answer(**arguments: Any) -> Any:
        request = _repeatable.get()
        if request is None:
            return endpoint(**arguments)
        database: Database = arguments["database"]
        with database.one_transaction(lambda session: reserve(session, request)) as joined:
            response = _rendered(endpoint(**arguments | {"database": joined}), arguments.get("response"), status)
            kept = KeptAnswer(response.status_code, _lasting_headers(response), bytes(response.body))
            with joined.session() as session:
                keep_answer(session, request, kept)
        return response

    return answer


def _rendered(document: BaseModel | Response, told: Response | None, status: int) -> Response:
    """What FastAPI would make of a document: with the status and the headers that the endpoint told it."""
    if isinstance(document, Response):
        return document
    if told is None:
        return json_answer(document, status=status)
    response = json_answer(document, status=told.status_code or status)
    response.headers.raw.extend(told.headers.raw)
    return response


def _lasting_headers(response: Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name != "content-length"}
