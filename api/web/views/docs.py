"""The OpenAPI document as a page."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from api.endpoint import needs
from api.web.rendering import render

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/docs")
@needs(None)
def docs(request: Request) -> HTMLResponse:
    """Every operation and document of the API; it needs nothing from elsewhere."""
    return render(request, "docs.html", document=request.app.openapi())
