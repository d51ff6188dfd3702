"""The files of a registered model, checked before they are read."""

from collections.abc import Sequence
from pathlib import Path

from planner.errors import NotFoundError
from planner.services.confinement import confine_found
from planner.storage.database import Database
from planner.storage.tables import ModelRow
from sensitivity.checkpoint import describe
from sensitivity.checkpoint.description import ModelDescription
from sensitivity.errors import ModelChangedError


def registered_files(database: Database, model_id: str, *, roots: Sequence[Path] | None = None) -> ModelDescription:
    """The description of a model's files as they are now, which are those that were registered.

    Args:
        database: where the model is registered.
        model_id: its id.
        roots: folders that the files must lie in; ``None`` allows every path.

    Raises:
        NotFoundError: the model was deleted meanwhile.
        InvalidRequestError: the files are outside of the roots.
        CheckpointError: the files are gone, corrupt, or not those that were registered.
    """
    with database.read_session() as session:
        row = session.get(ModelRow, model_id)
        if row is None:
            msg = f"model {model_id!r} was deleted; register it again and submit the job again"
            raise NotFoundError(msg)
        source, path, revision, name = row.source, row.path, row.revision, row.name
    confine_found(path, roots, source=source)
    description = describe(path, revision=revision)
    if description.fingerprint != model_id:
        msg = (
            f"the files of model {name!r} at {path} are not those that were registered: "
            f"register them again (bitplan models add {path}) and measure the new model"
        )
        raise ModelChangedError(msg)
    confine_found(path, roots, source=source)
    return description
