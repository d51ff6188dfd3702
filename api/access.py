"""Who may do what: API keys, scopes, and how often; decided before a byte of the body is read.

``BITPLAN_REQUIRE_KEY`` unset: a request from this machine needs no key until the first key is created, any other needs one.
``true``: every request needs a key. ``false``: requests from this machine never need one. A proxy on this machine passes the
requests of others on, so whatever went through one counts as coming from elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import final
from urllib.parse import quote, urlsplit

from fastapi import FastAPI
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from api.browsers import key_in_cookie, refuse_other_sites
from api.callers import LOCAL, NOBODY, Caller, Keyring, client_address, is_local, set_caller
from api.endpoint import needed_scope
from api.token_buckets import TokenBuckets
from planner.errors import ForbiddenError, UnauthenticatedError
from planner.schemas.keys import AccessScope

SIGN_IN = "/sign-in"
_OPEN_TO_ALL = frozenset({"openapi", "static"})
_BEARER = "bearer "
_MOST_FOLLOWING = 1900  # characters of an address that the sign-in form keeps, before they are quoted
_NO_KEY = "this needs an API key: send `Authorization: Bearer KEY` (`bitplan keys create NAME --scope plan` makes one)"


@final
@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a route, as the router matches it.

    Attributes:
        matches: the route's own matching.
        method: of HTTP.
        needs: the scope; ``None`` if it is open to everybody.
        is_page: whether it is for people, who are asked to sign in.
    """

    matches: Callable[[Scope], tuple[Match, Scope]]
    method: str
    needs: AccessScope | None
    is_page: bool

    def is_asked_by(self, scope: Scope) -> bool:
        """Whether the router will choose it, if none before it does."""
        return self.matches(scope)[0] == Match.FULL


@final
class Access:
    """ASGI middleware: lets a request through to an operation that its caller may call."""

    def __init__(self, app: ASGIApp, *, keyring: Keyring, buckets: TokenBuckets | None, require_key: bool | None) -> None:
        """Wrap the application.

        Args:
            app: what answers.
            keyring: the keys.
            buckets: one for each key and for each address without a good one; ``None`` limits nobody.
            require_key: the setting.
        """
        self.app = app
        self._keyring = keyring
        self._buckets = buckets
        self._require_key = require_key
        self._operations: dict[str, list[Operation]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it.

        Raises:
            UnauthenticatedError: a key is needed, and there is none or no valid one.
            ForbiddenError: the key lacks the scope, or another site sent the request.
            HTTPException: too many requests.
        """
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        operation = self._operation(scope)
        if operation is not None and operation.needs is None:
            caller = NOBODY
        else:
            try:
                caller = await self._caller(scope)
            except UnauthenticatedError:
                if operation is None or not (operation.is_page and "text/html" in Headers(scope=scope).get("accept", "")):
                    raise
                await _to_sign_in(scope)(scope, receive, send)
                return
        set_caller(scope, caller)
        if operation is not None and operation.needs is not None:
            _refuse_without_scope(caller, operation, scope)
        await self.app(scope, receive, send)

    def _operation(self, scope: Scope) -> Operation | None:
        """What the router will choose; ``None`` where it will answer 404, 405 or with a redirection."""
        if self._operations is None:
            self._operations = {}
            for operation in operations(scope["app"]):
                self._operations.setdefault(operation.method, []).append(operation)
        return next((found for found in self._operations.get(scope["method"], ()) if found.is_asked_by(scope)), None)

    async def _caller(self, scope: Scope) -> Caller:
        kind, key = _sent_key(scope)
        if key is None:
            if is_local(scope) and not await self._local_needs_key():
                refuse_other_sites(scope, known_browser=False)
                return LOCAL
            take_token(self._buckets, client_address(scope))
            raise UnauthenticatedError(_NO_KEY)
        caller = self._keyring.remembered(key)
        take_token(self._buckets, client_address(scope) if caller is None else caller.owner)
        if caller is None:
            caller = await run_in_threadpool(self._keyring.look_up, key)
        if kind == "cookie":
            refuse_other_sites(scope, known_browser=True)
        return caller

    async def _local_needs_key(self) -> bool:
        if self._require_key is not None:
            return self._require_key
        known = self._keyring.known_to_exist()
        return await run_in_threadpool(self._keyring.look_whether_any_exists) if known is None else known


def operations(app: FastAPI) -> list[Operation]:
    """Every operation of the service, in the order in which its router tries them."""
    return [
        Operation(context.matches, method, _needs(context, method), _is_page(context))
        for context in iter_route_contexts(app.routes)
        for method in sorted(context.methods or {"GET", "HEAD"})
    ]


def _to_sign_in(scope: Scope) -> Response:
    """Where a person signs in, and comes back from. A part of a page that htmx asks for takes the whole page there."""
    current = Headers(scope=scope).get("hx-current-url")
    if current is None:
        return RedirectResponse(_sign_in_address(scope["path"], scope["query_string"].decode("latin-1")), 303)
    try:
        page = urlsplit(current)
    except ValueError:
        page = urlsplit("/")
    return Response(status_code=401, headers={"hx-redirect": _sign_in_address(page.path, page.query)})


def _sign_in_address(path: str, query: str) -> str:
    following = f"{path}?{query}" if query and len(path) + len(query) < _MOST_FOLLOWING else path
    return f"{SIGN_IN}?next={quote(following, safe='/')}"


def take_token(buckets: TokenBuckets | None, name: str) -> None:
    """Count a request.

    Args:
        buckets: where to count; ``None`` limits nobody.
        name: id of a key, or an address.

    Raises:
        HTTPException: too many requests (429).
    """
    wait = buckets.take(name) if buckets is not None else 0.0
    if wait:
        seconds = str(ceil(wait))
        detail = f"too many requests: wait {seconds} s. The operator sets the limit with BITPLAN_REQUESTS_PER_SECOND"
        raise HTTPException(429, detail, {"retry-after": seconds})


def _needs(context: RouteContext, method: str) -> AccessScope | None:
    if not isinstance(context.original_route, APIRoute):
        return None if context.name in _OPEN_TO_ALL else AccessScope.READ
    assert context.endpoint is not None  # noqa: S101  (every APIRoute has one)
    return needed_scope(context.endpoint, method)


def _is_page(context: RouteContext) -> bool:
    return isinstance(context.original_route, APIRoute) and not context.original_route.include_in_schema


def _sent_key(scope: Scope) -> tuple[str, str | None]:
    """How a key was sent, and the key. A cookie is only looked at where no header names a key."""
    header = Headers(scope=scope).get("authorization")
    if header is None:
        return "cookie", key_in_cookie(scope)
    return "header", header[len(_BEARER) :].strip() if header[: len(_BEARER)].lower() == _BEARER else ""


def _refuse_without_scope(caller: Caller, operation: Operation, scope: Scope) -> None:
    if operation.needs in caller.scopes:
        return
    has = ", ".join(sorted(caller.scopes))
    msg = f"{scope['method']} {scope['path']} needs a key with the scope {operation.needs}, and this one has {has}"
    raise ForbiddenError(msg, scope=operation.needs)
