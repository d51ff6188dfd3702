"""Errors of the job engine.

PlannerError
└── JobError
    ├── LeaseLostError    somebody else has the work now, or it is gone: drop what was computed
    └── PermanentError    trying again cannot help: the job fails at once
"""

from planner.errors import PlannerError


class JobError(PlannerError):
    """Root of what the job engine raises on purpose."""

    code = "job"


class LeaseLostError(JobError):
    """The worker does not hold the lease (any more), so it may not record anything."""

    code = "lease-lost"


class PermanentError(JobError):
    """A handler's way to say that the job cannot succeed, however often it is tried; the message becomes its reason."""

    code = "permanent"
