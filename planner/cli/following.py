"""Follow a job to its end with a progress bar."""

from contextlib import closing

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from planner.cli.reporting import JobFailedError, err, say
from planner.operations import AbstractOperations
from planner.schemas.jobs import Job, JobState


def follow(bitplan: AbstractOperations, job_id: str, *, quiet: bool) -> Job:
    """Wait until the job has ended: worked on in this process, where other workers may take part, or by those of the service.

    Args:
        bitplan: who answers.
        job_id: which job.
        quiet: show no progress; what it waits for is said all the same.

    Returns:
        The whole job, as ``get_job`` has it.

    Raises:
        JobFailedError: the job failed or was cancelled; the message is its reason.
    """
    job = bitplan.get_job(job_id)
    if not job.state.is_final:
        with closing(bitplan.follow_job(job_id)) as states, _bar(quiet=quiet) as progress:
            task = progress.add_task(f"{job.kind} ({job.state})", total=job.total)
            said = None
            try:
                for job in states:
                    rests = _rests(job)
                    if quiet and rests not in (None, said):
                        say(f"job {job_id} {rests}")
                    said = rests
                    progress.update(task, description=_label(job), total=job.total, completed=job.done)
            except KeyboardInterrupt:
                say(f"job {job_id} has not ended: `bitplan jobs follow {job_id}` goes on with it, `jobs cancel` ends it")
                raise
    if job.state is not JobState.SUCCEEDED:
        msg = f"job {job.id} {job.state}: {job.reason or 'no reason was given'}"
        raise JobFailedError(msg, job=job.id, state=job.state.value)
    if job.failed:
        say(f"warning: {job.reason}")
    return bitplan.get_job(job_id) if job.left_out else job  # a service tells its followers no long tables


def _rests(job: Job) -> str | None:
    """Why nobody works on a job, for whoever sees no progress bar; ``None`` if somebody does, or it has only to wait its turn."""
    if job.state is JobState.PAUSED:
        return f"is paused: `bitplan jobs resume {job.id}` lets it go on"
    return None if job.waits_for is None else f"waits: {job.waits_for}"


def _label(job: Job) -> str:
    if job.state is JobState.RUNNING:
        return job.kind if job.done else f"{job.kind} (loading the model)"
    return f"{job.kind} ({job.waits_for or job.state})"


def _bar(*, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err, disable=quiet, transient=False)
