"""The files of a registered model, checked before they are read."""

from planner.errors import NotFoundError
from planner.storage.database import Database
from planner.storage.tables import ModelRow
from sensitivity.checkpoint import describe
from sensitivity.checkpoint.description import ModelDescription
from sensitivity.errors import ModelChangedError


def registered_files(database: Database, model_id: str) -> ModelDescription:
    """The description of a model's files as they are now, which are those that were registered.

    Raises:
        NotFoundError: the model was deleted meanwhile.
        CheckpointError: the files are gone, corrupt, or not those that were registered.
    """
    with database.read_session() as session:
        row = session.get(ModelRow, model_id)
        if row is None:
            msg = f"model {model_id!r} was deleted; register it again and submit the job again"
            raise NotFoundError(msg)
        path, revision, name = row.path, row.revision, row.name
    description = describe(path, revision=revision)
    if description.fingerprint != model_id:
        msg = (
            f"the files of model {name!r} at {path} are not those that were registered: "
            f"register them again (bitplan models add {path}) and measure the new model"
        )
        raise ModelChangedError(msg)
    return description
