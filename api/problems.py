"""Errors as problem documents (RFC 9457). HTTP statuses live here and nowhere below.

A problem says what to do and carries machine-readable members. What was not foreseen says nothing but its request id; the
log has the rest.
"""

import traceback
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_problem.error import Problem, StatusProblem
from fastapi_problem.handler import ExceptionHandler, new_exception_handler
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.request_context import request_id
from planner.errors import (
    TYPE_PREFIX,
    AccessError,
    BudgetError,
    ConflictError,
    ExportError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    PlannerError,
    SchemaVersionError,
    StorageError,
    UnauthenticatedError,
    problem_code,
    problem_title,
)
from planner.storage.failures import MEANWHILE, conflict_of
from sensitivity.errors import ModelChangedError, SensitivityError

MEDIA_TYPE = "application/problem+json"
STATUS: dict[type[Exception], int] = {
    UnauthenticatedError: 401,
    AccessError: 403,
    NotFoundError: 404,
    ConflictError: 409,
    InvalidRequestError: 422,
    BudgetError: 422,
    ExportError: 422,
    StorageError: 503,
    PlannerError: 500,
    ModelChangedError: 409,
    SensitivityError: 422,
}
_LOG = structlog.get_logger("api")
_RESERVED = {"type", "title", "status", "detail", "request_id"}
_CHALLENGE = 'Bearer realm="bitplan"'
_UNAVAILABLE = "the database does not answer as it should; try again in a moment. The log of the service says why"


class InternalProblem(StatusProblem):
    """Whatever was not foreseen. The exception's text stays in the log."""

    status = 500
    title = "Internal error"
    type_ = f"{TYPE_PREFIX}internal"

    def __init__(self, _text: str) -> None:
        super().__init__(detail="the service failed at this request; report the request_id to its operator")


def install(app: FastAPI) -> dict[type[Exception], ExceptionHandler]:
    """Answer every error with a problem document.

    Returns:
        The handlers of errors that are foreseen, for a middleware outside of the application's own.
    """
    handler = new_exception_handler(
        unhandled_wrappers={"default": InternalProblem},
        handlers={
            PlannerError: _domain_problem,
            SensitivityError: _domain_problem,
            **dict.fromkeys(MEANWHILE, _meanwhile_problem),
        },
        http_exception_handler=_http_problem,
        request_validation_handler=_validation_problem,
        pre_hooks=[_log],
        post_hooks=[_with_request_id],
    )
    foreseen = (PlannerError, SensitivityError, HTTPException, RequestValidationError, *MEANWHILE)
    for kind in (Exception, *foreseen):
        app.add_exception_handler(kind, handler)
    return dict.fromkeys(foreseen, handler)


def _status_of(error: Exception) -> int:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def _domain_problem(_handler: ExceptionHandler, _request: Request, error: Exception) -> Problem:
    fields: dict[str, object] = getattr(error, "fields", {})
    unavailable = isinstance(error, StorageError) and not isinstance(error, SchemaVersionError)
    return Problem(
        problem_title(type(error)),
        type_=TYPE_PREFIX + problem_code(type(error)),
        detail=_UNAVAILABLE if unavailable else str(error),
        status=_status_of(error),
        headers={"retry-after": "5"} if unavailable else _challenge(error),
        **{} if unavailable else {name: value for name, value in fields.items() if name not in _RESERVED},
    )


def _meanwhile_problem(handler: ExceptionHandler, request: Request, error: Exception) -> Problem:
    conflict = conflict_of(error)
    return InternalProblem("") if conflict is None else _domain_problem(handler, request, conflict)


def _challenge(error: Exception) -> dict[str, str] | None:
    """Which key would be good enough (RFC 6750 §3)."""
    if isinstance(error, UnauthenticatedError):
        return {"www-authenticate": _CHALLENGE}
    if isinstance(error, ForbiddenError) and "scope" in error.fields:
        return {"www-authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{error.fields["scope"]}"'}
    return None


def _http_problem(_handler: ExceptionHandler, request: Request, error: HTTPException) -> Problem:
    phrase = HTTPStatus(error.status_code).phrase
    detail = error.detail
    if detail == phrase:
        detail = f"{request.method} {request.url.path} is not offered here; see /docs for what is"
    return Problem(
        phrase.capitalize(),
        type_=TYPE_PREFIX + phrase.lower().replace(" ", "-"),
        detail=detail,
        status=error.status_code,
        headers=dict(error.headers) if error.headers else None,
    )


def _validation_problem(_handler: ExceptionHandler, _request: Request, error: RequestValidationError) -> Problem:
    errors = [{"location": list(item["loc"]), "message": item["msg"], "code": item["type"]} for item in error.errors()]
    first = errors[0]
    where = ".".join(str(part) for part in first["location"])
    more = f" (and {len(errors) - 1} more, see errors)" if len(errors) > 1 else ""
    return Problem(
        "Invalid request",
        type_=f"{TYPE_PREFIX}invalid-request",
        detail=f"{where}: {first['message']}{more}. Correct the request; /docs describes it",
        status=422,
        errors=errors[:100],
    )


def _log(request: Request, error: Exception) -> None:
    if isinstance(error, HTTPException | RequestValidationError):
        return
    if isinstance(error, PlannerError | SensitivityError) and _status_of(error) < 500:
        return
    if isinstance(error, StorageError):  # its text says what happened; a database that is away makes one a request
        _LOG.error("request failed", request_id=request_id(request.scope), path=request.url.path, reason=str(error))
        return
    if isinstance(error, MEANWHILE) and conflict_of(error) is not None:
        reason = f"{type(error).__name__}: {error}"
        _LOG.warning("request met a deletion", request_id=request_id(request.scope), path=request.url.path, reason=reason)
        return
    text = "".join(traceback.format_exception(error))  # not exc_info: a renderer may print local variables with it
    _LOG.error("request failed", request_id=request_id(request.scope), path=request.url.path, exception=text)


def _with_request_id(content: dict[str, Any], request: Request, response: Response) -> tuple[dict[str, Any], Response]:
    """Put the request's id into the document and the header; the unforeseen passes by the middleware that would."""
    identity = request_id(request.scope)
    content = {**content, "request_id": identity}
    response.body = response.render(content)
    response.headers["x-request-id"] = identity
    return content, response
