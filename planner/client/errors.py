"""What a service answers, or does not, beyond the errors of planning.

ServiceError               a problem of the service or of the way to it: refused key, too many requests, internal error
├── UnreachableError       no answer at all
└── UnusableAnswerError    an answer that is none of this API: too large, cut off, of another server
"""

from planner.errors import PlannerError


class ServiceError(PlannerError):
    """A problem of the service itself.

    ``fields`` holds ``status`` (HTTP), ``problem`` (the last part of its type) and ``request_id`` where there was an answer.
    """

    code = "service"


class UnreachableError(ServiceError):
    """The service did not answer."""

    code = "unreachable"


class UnusableAnswerError(ServiceError):
    """The answer is none of this API."""

    code = "unusable-answer"
