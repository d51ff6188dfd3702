"""Entity tags: who has an answer already is told so instead of being sent it again."""

import hashlib
from typing import final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.endpoint import is_immutable

TAGGED = "/v1/"
_IMMUTABLE = "private, max-age=86400, immutable"
_NOT_WITHOUT_BODY = ("content-length", "content-type")


@final
class EntityTags:
    """ASGI middleware: an ``ETag`` on what a GET under ``/v1`` finds, and 304 for ``If-None-Match``.

    The tag is a digest of the answer, so it is right for whatever the answer depends on. What never changes may be kept
    without asking again. A stream has no tag.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; hold the beginning of the answer back until its body is known."""
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith(TAGGED):
            await self.app(scope, receive, send)
            return
        wanted = Headers(scope=scope).get("if-none-match", "")
        start: Message | None = None

        async def tag(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and message["status"] == 200:
                start = message
                return
            if start is not None:
                beginning, start = start, None
                if not message.get("more_body", False):
                    message = _tagged(beginning, message, wanted, immutable=is_immutable(scope.get("endpoint")))
                await send(beginning)
            await send(message)

        await self.app(scope, receive, tag)


def _tagged(start: Message, body: Message, wanted: str, *, immutable: bool) -> Message:
    """Complete the headers of a whole answer; returns the body to send, which is empty if the client has it."""
    etag = f'"{hashlib.sha256(body.get("body", b"")).hexdigest()[:32]}"'
    headers = MutableHeaders(scope=start)
    headers["etag"] = etag
    if immutable:
        headers["cache-control"] = _IMMUTABLE
    headers.add_vary_header("accept, authorization, cookie")
    if not _names(wanted, etag):
        return body
    start["status"] = 304
    for name in _NOT_WITHOUT_BODY:
        del headers[name]
    return {"type": "http.response.body", "body": b""}


def _names(wanted: str, etag: str) -> bool:
    """Whether an If-None-Match holds the tag; weak comparison, as RFC 9110 §13.1.2 says."""
    return any(tag.strip() == "*" or tag.strip().removeprefix("W/") == etag for tag in wanted.split(","))
