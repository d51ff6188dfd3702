"""The model that this worker has in memory, and the tokens cut for it: kept while units of one model follow each other."""

import zlib
from dataclasses import dataclass, field

from sqlalchemy.orm import undefer

from planner.errors import NotFoundError
from planner.storage.database import Database
from planner.storage.tables import CalibrationSetRow
from planner.worker.registered_files import registered_files
from sensitivity.calibration import CalibrationSpec
from sensitivity.loading import LoadedModel, load_model
from sensitivity.tokens import CalibrationTokens, cut


@dataclass(slots=True)
class LoadedModels:
    """At most one model and the tokens of at most one calibration set."""

    database: Database
    _model_id: str | None = None
    _model: LoadedModel | None = None
    _tokens: dict[tuple[str, str], CalibrationTokens] = field(default_factory=dict)

    def get(self, model_id: str) -> LoadedModel:
        """The model, loaded from the files that were registered.

        Raises:
            NotFoundError: it was deleted meanwhile.
            CheckpointError: the files are gone, corrupt, or not those that were registered.
        """
        if self._model is None or self._model_id != model_id:
            self._model, self._model_id = None, None
            self._tokens.clear()
            self._model = load_model(registered_files(self.database, model_id))
            self._model_id = model_id
        return self._model

    def tokens(self, model_id: str, calibration_id: str) -> CalibrationTokens:
        """Tokens of a calibration set for a model.

        Raises:
            CalibrationError: the text has too few tokens.
        """
        key = (model_id, calibration_id)
        if key not in self._tokens:
            model = self.get(model_id)
            with self.database.read_session() as session:
                row = session.get(CalibrationSetRow, calibration_id, options=[undefer(CalibrationSetRow.text)])
                if row is None:
                    msg = f"calibration set {calibration_id!r} was deleted; submit the job again with another one"
                    raise NotFoundError(msg)
                text = zlib.decompress(row.text).decode()
                spec = CalibrationSpec(
                    sequences=row.sequences,
                    sequence_length=row.sequence_length,
                    held_out_sequences=row.held_out_sequences,
                    held_out_length=row.held_out_length,
                    seed=row.seed,
                )
            self._tokens = {key: cut(text, model.tokenizer, spec)}
        return self._tokens[key]
