"""Templates of the page."""

from pathlib import Path
from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates

from api.web.formatting import FILTERS

CONTENT_SECURITY_POLICY: Final = "; ".join((
    "default-src 'none'",
    "script-src 'self'",
    "connect-src 'self'",
    "style-src 'self'",
    "img-src 'self' data: blob:",  # drawings that are saved as PNG pass through an image
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
))  # fmt: skip
"""What a page may load: its own files and nothing else; no inline script."""

_templates = Jinja2Templates(directory=Path(__file__).parent / "templates")
_templates.env.filters.update(FILTERS)


def render(request: Request, template: str, *, status_code: int = 200, **context: Any) -> HTMLResponse:
    """A template as an answer.

    Args:
        request: which is answered.
        template: its file.
        status_code: of the answer.
        context: what the template shows.
    """
    headers = {"content-security-policy": CONTENT_SECURITY_POLICY}
    return _templates.TemplateResponse(request, template, context, status_code=status_code, headers=headers)
