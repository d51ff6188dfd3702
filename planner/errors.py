"""The error tree of planning; every message says what to do, and `fields` are for machines.

PlannerError
├── NotFoundError             an id that nothing has
├── ConflictError             the same identity with other content, or a state that does not allow it
├── InvalidRequestError       a request that contradicts itself or the model
│   ├── UnmeasuredError       cells asked for that nobody measured
│   ├── PinConflictError      pins, floors, ceilings and menus that leave a layer group without a format
│   ├── CountConflictError    counts that no plan keeps together
│   ├── BatchLimitError       a request of a batch that there was no time or no room for
│   ├── InvalidImportError    a file that cannot be imported
│   └── IdempotencyKeyReusedError
├── AccessError
│   ├── UnauthenticatedError  no API key where one is needed, or one that is not valid
│   └── ForbiddenError        a key without the scope of the request
├── BudgetError
│   ├── BudgetBelowFloorError
│   ├── BudgetAboveCeilingError
│   ├── BudgetConflictError   limits that no plan keeps together
│   └── LossBelowFloorError   even the best plan loses more than it may
├── ExportError               a plan that the target cannot express
├── UnsolvedError             no plan was found in the time there was, and no proof that there is none
└── StorageError              the database cannot be reached, or does not answer as it should
    └── SchemaVersionError
"""

import re
from typing import ClassVar, Final

TYPE_PREFIX: Final = "urn:bitplan:problem:"
"""What the ``type`` of a problem document begins with; the slug of the error follows."""

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class PlannerError(Exception):
    """Root of everything planning raises on purpose.

    Attributes:
        code: stable slug, the last part of a problem's ``type``.
        fields: machine-readable facts (``smallest_feasible_bytes``, ``layers``, …).
    """

    code: ClassVar[str] = "planner-error"

    def __init__(self, message: str, **fields: object) -> None:
        super().__init__(message)
        self.fields = fields


class NotFoundError(PlannerError):
    """An id that nothing has."""

    code = "not-found"


class ConflictError(PlannerError):
    """The same identity with other content, or a state that does not allow the request."""

    code = "conflict"


class InvalidRequestError(PlannerError):
    """A request that contradicts itself or the model."""

    code = "invalid-request"


class UnmeasuredError(InvalidRequestError):
    """Cells asked for that nobody measured."""

    code = "unmeasured"


class PinConflictError(InvalidRequestError):
    """Pins, floors, ceilings and menus that leave a layer group without a format."""

    code = "pin-conflict"


class CountConflictError(InvalidRequestError):
    """Counts that no plan keeps together."""

    code = "count-conflict"


class BatchLimitError(InvalidRequestError):
    """A request of a batch that there was no time or no room for: it may be asked again alone."""

    code = "batch-limit"


class InvalidImportError(InvalidRequestError):
    """A file of another tool that cannot be imported: damaged, of an unknown kind, or of another model."""

    code = "invalid-import"


class IdempotencyKeyReusedError(InvalidRequestError):
    """An idempotency key that another request was sent with."""

    code = "idempotency-key-reused"


class AccessError(PlannerError):
    """A request that this caller may not make."""

    code = "access"


class UnauthenticatedError(AccessError):
    """No API key where one is needed, or one that is not valid."""

    code = "unauthenticated"


class ForbiddenError(AccessError):
    """A key without the scope of the request, or a request that another site made a browser send."""

    code = "forbidden"


class BudgetError(PlannerError):
    """A budget that no plan can keep, or that binds nothing."""

    code = "budget"


class BudgetBelowFloorError(BudgetError):
    """Even the smallest plan is larger than the budget."""

    code = "budget-below-floor"


class BudgetAboveCeilingError(BudgetError):
    """Even the largest plan is smaller than the budget."""

    code = "budget-above-ceiling"


class BudgetConflictError(BudgetError):
    """Limits that no plan keeps together, each of which some plan keeps."""

    code = "budget-conflict"


class LossBelowFloorError(BudgetError):
    """Even the best plan within the other limits loses more than it may."""

    code = "loss-below-floor"


class UnsolvedError(PlannerError):
    """No plan was found in the time there was, and no proof that there is none."""

    code = "unsolved"


class ExportError(PlannerError):
    """A plan that the target cannot express."""

    code = "export"


class StorageError(PlannerError):
    """The database cannot be reached, or does not answer as it should."""

    code = "storage"


class SchemaVersionError(StorageError):
    """The database has no tables, or those of another version of bitplan."""

    code = "schema-version"


def problem_code(error: type[Exception]) -> str:
    """Stable slug of an error class: its own ``code``, or its name (``UnknownFormatError`` → ``unknown-format``)."""
    own = getattr(error, "code", None)
    return own if isinstance(own, str) else _WORD.sub("-", error.__name__.removesuffix("Error")).lower()


def problem_title(error: type[Exception]) -> str:
    """The same for every problem of the type: the slug in words."""
    return problem_code(error).replace("-", " ").capitalize()
