"""Compare two checkpoints from the command line: everything that tells what moved, each step a job that is done once."""

from collections.abc import Sequence

from planner.cli.following import follow
from planner.schemas.drifts import SubmitDrift
from planner.schemas.jobs import SubmitSensitivity
from planner.services import drift, jobs
from planner.storage.database import Database
from sensitivity.probe_facts import WEIGHT_ERROR


def compare_checkpoints(database: Database, model: str, reference: str, formats: Sequence[str] | None, *, quiet: bool) -> None:
    """Have the weights compared, and the reference's rounding errors in these formats measured, where that was not done before.

    Args:
        database: an upgraded database.
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
    with database.session() as session:
        compared = drift.submit_drift(session, model, SubmitDrift(reference=reference))
    follow(database, compared.id, quiet=quiet)
    rounded = SubmitSensitivity(
        model=reference, probe=WEIGHT_ERROR.name, formats=None if formats is None else list(formats), include=["*"]
    )
    with database.session() as session:
        measured = jobs.submit_sensitivity(session, rounded)
    follow(database, measured.id, quiet=quiet)
