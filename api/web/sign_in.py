"""The sign-in form: a key, kept in a cookie that no script can read and no other site can send."""

from typing import Annotated, cast
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.access import SIGN_IN, take_token
from api.browsers import COOKIE, refuse_other_sites
from api.callers import Keyring, client_address
from api.endpoint import needs
from api.web.rendering import render
from planner.errors import UnauthenticatedError

_MAX_BYTES = 8192
router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get(SIGN_IN)
@needs(None)
def show_form(request: Request, following: Annotated[str, Query(alias="next", max_length=2000)] = "/") -> HTMLResponse:
    """The form."""
    return render(request, "sign_in.html", following=_here(following))


@router.post(SIGN_IN)
@needs(None)
async def sign_in(request: Request) -> Response:
    """Check the key, and keep it in a cookie until the browser is closed."""
    refuse_other_sites(request.scope, known_browser=True)
    take_token(request.app.state.buckets, client_address(request.scope))
    form = parse_qs((await _short_body(request)).decode("ascii", errors="replace"))
    key, following = (form.get(name, [""])[0] for name in ("key", "next"))
    try:
        await run_in_threadpool(cast(Keyring, request.app.state.keyring).look_up, key.strip())
    except UnauthenticatedError as error:
        return render(request, "sign_in.html", status_code=401, following=_here(following), message=str(error))
    answer = RedirectResponse(_here(following), 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, key.strip(), httponly=True, samesite="strict", secure=secure)
    return answer


@router.post("/sign-out")
@needs(None)
def sign_out(request: Request) -> Response:
    """Forget the cookie, and what the browser keeps of the pages."""
    refuse_other_sites(request.scope, known_browser=True)
    answer = RedirectResponse(SIGN_IN, 303, {"clear-site-data": '"cache"'})
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


async def _short_body(request: Request) -> bytes:
    """The body of a form; whoever sends more is nobody who signs in."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BYTES:
            raise HTTPException(413, "a key is shorter than this")
    return body


def _here(following: str) -> str:
    """Where to go next: a path of this service, and nothing that a browser could read as another host."""
    return following if following.startswith("/") and not following.startswith(("//", "/\\")) and following.isprintable() else "/"
