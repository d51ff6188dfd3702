"""Why a queued job is not begun: which of its demands no worker that is there meets."""

from collections.abc import Sequence

from planner.jobs.job import Job, JobState, Terms
from planner.jobs.workers import SeenWorker


def waits_for(job: Job, workers: Sequence[SeenWorker]) -> str | None:
    """What is missing, in words; ``None`` if some worker can take the job, or if it needs none.

    Args:
        job: any job.
        workers: those that were seen lately.
    """
    return lacking(job.kind, job.terms, workers) if job.state is JobState.QUEUED else None


def lacking(kind: str, terms: Terms, workers: Sequence[SeenWorker]) -> str | None:
    """What no worker that is there has of what a job of this kind asks for on these terms; ``None`` if one can take it."""
    able = [worker.profile for worker in workers if worker.state.is_there and kind in worker.profile.kinds]
    if not able:
        return "no worker is there: start one with `bitplan worker`"
    label, memory = terms.label, terms.memory_bytes
    able = [worker for worker in able if label is None or label in worker.labels]
    if not able:
        return f"no worker that is there has the label {label!r}: start one with `bitplan worker --labels {label}`"
    allowed = [worker.memory_bytes for worker in able]
    if memory is None or any(most is None or most >= memory for most in allowed):
        return None
    most = max(most or 0 for most in allowed)
    return f"it is forecast to need {memory:,} bytes of memory, and no worker that is there may use more than {most:,}"
