"""What a browser sends by itself: the cookie with a key, and where a request comes from."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import Scope

from planner.errors import ForbiddenError

COOKIE = "bitplan_key"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def key_in_cookie(scope: Scope) -> str | None:
    """The key that the sign-in page left in a cookie, whatever the cookies beside it look like."""
    return HTTPConnection(scope).cookies.get(COOKIE) or None


def refuse_other_sites(scope: Scope, *, known_browser: bool) -> None:
    """Refuse a request that changes something and that a page of another site made the browser send.

    The cookie is ``SameSite=Strict`` already; this also covers requests that need no cookie, and other ports of this host.

    Args:
        scope: of the request.
        known_browser: a browser sent it, so it has to say from where; a program may leave that out.

    Raises:
        ForbiddenError: it comes from elsewhere.
    """
    if scope["method"] in _SAFE:
        return
    headers = Headers(scope=scope)
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        from_here = site == "same-origin" or (site == "none" and not known_browser)
    elif origin is not None:
        from_here = _host_of(origin) == headers.get("host", "").lower()
    else:
        from_here = not known_browser
    if not from_here:
        msg = "this request does not come from a page of this service; a program sends its key as `Authorization: Bearer KEY`"
        raise ForbiddenError(msg)


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
