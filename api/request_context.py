"""What every request gets: an id, a limit of its body, and headers that keep a browser from more than showing the answer."""

import re
import secrets
from typing import cast

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-request-id"
_KEY = "bitplan.request_id"
_USABLE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "private, no-cache",  # answers depend on who asks
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}


def request_id(scope: Scope) -> str:
    """Id of the request: the client's own where it is usable, else a fresh one."""
    if _KEY not in scope:
        given = Headers(scope=scope).get(HEADER, "")
        scope[_KEY] = given if _USABLE.fullmatch(given) else secrets.token_hex(8)
    return cast(str, scope[_KEY])


class RequestContext:
    """ASGI middleware: the id of the request and the security headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; complete the headers of the answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identity = request_id(scope)

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers[HEADER] = identity
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, complete)


class BodyLimit:
    """ASGI middleware: a body larger than the limit is a 413 problem for whoever reads it, announced or not.

    FastAPI's own ``max_body_size`` answers with plain text from outside of the error handlers.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; count its body as it arrives."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        total = int(announced) if announced.isdecimal() and len(announced) < 20 else 0
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            if max(total, arrived) <= self.max_bytes:
                message = await receive()
                arrived += len(message.get("body", b""))
            if max(total, arrived) > self.max_bytes:
                detail = (
                    f"the body is larger than {self.max_bytes // 2**20} MiB; send less, or name a file of the service's machine"
                )
                raise HTTPException(413, detail)
            return message

        await self.app(scope, counted, send)
