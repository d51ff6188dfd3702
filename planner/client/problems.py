"""Problem documents (RFC 9457) as the errors that they were: the same class, message and fields as in the service."""

from collections.abc import Iterator
from typing import Final, TypeVar

import httpx2
from pydantic import ValidationError

from planner.client.errors import ServiceError, UnusableAnswerError
from planner.errors import TYPE_PREFIX, PlannerError, problem_code
from planner.schemas.problems import Problem
from sensitivity.errors import SensitivityError

Error = TypeVar("Error", bound=Exception)
_SHOWN: Final = 200  # bytes of an answer that is no problem document


def error_of(status: int, body: bytes, *, where: str) -> PlannerError | SensitivityError:
    """The error that an answer stands for.

    Args:
        status: HTTP status code.
        body: its content.
        where: method and address that were asked, for the message.

    Returns:
        An error of ``planner.errors`` or ``sensitivity.errors`` where the problem is one of them, else a ``ServiceError``;
        ``UnusableAnswerError`` where the answer is no problem document. The request id is a note of the error, and one of the
        fields of a ``PlannerError``.
    """
    try:
        problem = Problem.model_validate_json(body)
    except ValidationError:
        return _of_another_server(status, body, where)
    error = _error(problem)
    if isinstance(error, PlannerError):
        error.fields |= (problem.model_extra or {}) | {"request_id": problem.request_id}
        if problem.errors is not None:
            error.fields["errors"] = [field.model_dump() for field in problem.errors]
    error.add_note(f"request id {problem.request_id}")
    return error


def _error(problem: Problem) -> PlannerError | SensitivityError:
    code = problem.type.removeprefix(TYPE_PREFIX)
    for planning in _family(PlannerError):
        if problem_code(planning) == code:
            return planning(problem.detail)
    for measuring in _family(SensitivityError):
        if problem_code(measuring) == code:
            return measuring(problem.detail)
    return ServiceError(problem.detail, status=problem.status, problem=code)


def _family(root: type[Error]) -> Iterator[type[Error]]:
    """The class and all below it."""
    yield root
    for child in root.__subclasses__():
        yield from _family(child)


def _of_another_server(status: int, body: bytes, where: str) -> UnusableAnswerError:
    text = " ".join(body[:_SHOWN].decode("utf-8", errors="replace").split())
    answer = f"{status} {httpx2.codes.get_reason_phrase(status)}".strip()
    msg = f"{where} was answered by {answer}, not by a document of bitplan: {text!r}. Check the URL of the service"
    return UnusableAnswerError(msg, status=status)
