"""The OpenAPI document: FastAPI's, with what holds for every operation.

Every error is the one problem document, as `application/problem+json`. Every operation names the scope that it needs, every
POST takes an ``Idempotency-Key``, and every answer that is tagged says so.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts

from api.browsers import COOKIE
from api.endpoint import KEY_HEADER, KEY_PATTERN, REPLAYED_HEADER, Endpoint, needed_scope
from api.entity_tags import TAGGED
from api.problems import MEDIA_TYPE
from planner.schemas.problems import Problem

_REFERENCE = {"schema": {"$ref": "#/components/schemas/Problem"}}
_ANSWERS = {
    "4XX": "The request cannot be fulfilled; `detail` says what to do",
    "5XX": "The service cannot fulfil the request now",
}
_SCHEMES = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of `bitplan keys create`. On the service's own machine none is needed until the first one exists",
    },
    "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "The same key, as the sign-in page keeps it"},
}
_REPEATABLE = {
    "name": KEY_HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": KEY_PATTERN},
    "description": "Makes a retry safe: the same key with the same request is answered once, for a day; a fresh UUID will do",
}
_REPLAYED = {
    REPLAYED_HEADER: {
        "schema": {"type": "string", "enum": ["true"]},
        "description": "The answer to an earlier request with this key",
    }
}
_TAG = {"etag": {"schema": {"type": "string"}, "description": "Names this content; send it as If-None-Match"}}
_UNCHANGED = {"description": "The client has this content already, as its If-None-Match says", "headers": _TAG}
_STREAM = "text/event-stream"
_REPLACED = ("HTTPValidationError", "ValidationError")


def install(app: FastAPI) -> None:
    """Serve a document whose errors are problems."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            app.openapi_schema = _with_access(_with_problems(found), app)
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


def _with_access(document: dict[str, Any], app: FastAPI) -> dict[str, Any]:
    document["components"]["securitySchemes"] = _SCHEMES
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if not isinstance(route, APIRoute) or not route.include_in_schema:
            continue
        for method in context.methods or ():
            path = str(context.path_format)
            operation = document["paths"][path][method.lower()]
            scope = needed_scope(route.endpoint, method)
            operation["security"] = [] if scope is None else [{name: [scope.value]} for name in _SCHEMES]
            if method == "POST" and isinstance(route, Endpoint):
                _say_repeatable(operation)
            if method == "GET" and path.startswith(TAGGED):
                _say_tagged(operation["responses"])
    return document


def _say_repeatable(operation: dict[str, Any]) -> None:
    operation.setdefault("parameters", []).append(_REPEATABLE)
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            answer["headers"] = {**answer.get("headers", {}), **_REPLAYED}


def _say_tagged(answers: dict[str, Any]) -> None:
    if _STREAM in answers["200"].get("content", {}):
        return
    answers["200"]["headers"] = {**answers["200"].get("headers", {}), **_TAG}
    answers["304"] = _UNCHANGED
