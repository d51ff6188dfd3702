"""Templates of the page."""

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates

from api.web.formatting import FILTERS

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
    return _templates.TemplateResponse(request, template, context, status_code=status_code)
