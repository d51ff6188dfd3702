"""Compare two checkpoints from the command line: everything that tells what moved, each step a job that is done once."""

from collections.abc import Sequence

from planner.cli.following import follow
from planner.operations import AbstractOperations
from planner.schemas.drifts import SubmitDrift
from planner.schemas.jobs import SubmitSensitivity
from sensitivity.probe_facts import WEIGHT_ERROR


def compare_checkpoints(
    bitplan: AbstractOperations, model: str, reference: str, formats: Sequence[str] | None, *, quiet: bool
) -> None:
    """Have the weights compared, and the reference's rounding errors in these formats measured, where that was not done before.

    Args:
        bitplan: who answers.
        model: id or name of the model that moved.
        reference: id or name of the model that it is compared with.
        formats: formats to judge it by; ``None`` for those that are measured by default.
        quiet: without progress bars.

    Raises:
        NotFoundError: no such model.
        InvalidRequestError: models that cannot be compared.
        UnknownFormatError: no such format.
        JobFailedError: a job failed or was cancelled.
    """
    compared = bitplan.submit_drift(model, SubmitDrift(reference=reference))
    follow(bitplan, compared.id, quiet=quiet)
    rounded = SubmitSensitivity(
        model=reference, probe=WEIGHT_ERROR.name, formats=None if formats is None else list(formats), include=["*"]
    )
    measured = bitplan.submit_job(rounded)
    follow(bitplan, measured.id, quiet=quiet)
