"""The OpenAPI document: every error is the one problem document, as `application/problem+json`."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.problems import MEDIA_TYPE
from planner.schemas.problems import Problem

_REFERENCE = {"schema": {"$ref": "#/components/schemas/Problem"}}
_ANSWERS = {
    "4XX": "The request cannot be fulfilled; `detail` says what to do",
    "5XX": "The service cannot fulfil the request now",
}
_REPLACED = ("HTTPValidationError", "ValidationError")


def install(app: FastAPI) -> None:
    """Serve a document whose errors are problems."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _with_problems(
                get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            )
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    for name in _REPLACED:
        schemas.pop(name, None)
    for operations in document["paths"].values():
        for operation in operations.values():
            answers = operation["responses"]
            answers.pop("422", None)
            for status, description in _ANSWERS.items():
                answers[status] = {"description": description, "content": {MEDIA_TYPE: _REFERENCE}}
    return document
