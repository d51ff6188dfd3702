"""The page: its views, and the files that they load."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from api.web.views import docs, frontier, jobs, models, plans, sensitivity, studio

_VIEWS = (models, sensitivity, jobs, docs, studio, frontier, plans)


def install(app: FastAPI) -> None:
    """Add the views, the style sheets and the scripts."""
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    for view in _VIEWS:
        app.include_router(view.router)
