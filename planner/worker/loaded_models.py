"""The model that this worker has in memory, and the tokens cut for it: kept while units of one model follow each other."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypedDict, Unpack

from sqlalchemy.orm import undefer

from planner.errors import NotFoundError
from planner.schemas.jobs import Streaming
from planner.storage.database import Database
from planner.storage.tables import CalibrationSetRow, ModelRow
from planner.worker.memory import available_bytes
from planner.worker.registered_files import registered_files
from sensitivity.calibration import CalibrationSpec
from sensitivity.checkpoint import SourceKind
from sensitivity.heap import give_back
from sensitivity.loading import LoadedModel, load_model
from sensitivity.model_text import cut_for
from sensitivity.tokens import CalibrationTokens

_FLOAT32: Final = 4


class Loading(TypedDict, total=False):
    """How a job wants its model.

    Attributes:
        streaming: ``always`` or ``never`` read blocks one at a time; ``auto``: as the model is loaded already, else block by
            block if the whole model would take more than there is, or than the worker may use.
        whole_bytes: forecast of the job with the whole model; at least the weights' own are reckoned.
    """

    streaming: Streaming
    whole_bytes: int


@dataclass(slots=True)
class LoadedModels:
    """At most one model, whole or streamed, and the tokens of at most one calibration set.

    Attributes:
        database: where models are registered.
        roots: folders that their files must lie in; ``None`` allows every path.
        most_bytes: what this worker may use of the memory that is available; ``None`` for all of it.
    """

    database: Database
    roots: Sequence[Path] | None = None
    most_bytes: int | None = None
    _model_id: str | None = None
    _model: LoadedModel | None = None
    _tokens: dict[tuple[str, str], CalibrationTokens] = field(default_factory=dict)

    def get(self, model_id: str, **loading: Unpack[Loading]) -> LoadedModel:
        """The model, loaded from the files that were registered.

        Raises:
            NotFoundError: it was deleted meanwhile.
            InvalidRequestError: the files are outside of the roots.
            CheckpointError: the files are gone, corrupt, or not those that were registered; or a GGUF file is to be streamed.
        """
        streamed = self.streams(model_id, **loading)
        if self._model is None or self._model.is_streamed != streamed:
            self._forget()
            self._model = load_model(registered_files(self.database, model_id, roots=self.roots), streamed=streamed)
            self._model_id = model_id
        return self._model

    def streams(self, model_id: str, **loading: Unpack[Loading]) -> bool:
        """Whether ``get`` gives a streamed model; another model is let go, as it would be by then.

        Raises:
            NotFoundError: the model was deleted meanwhile.
        """
        if self._model_id != model_id:
            self._forget()
        streaming = loading.get("streaming", "auto")
        if streaming != "auto":
            return streaming == "always"
        if self._model is not None:
            return self._model.is_streamed
        with self.database.read_session() as session:
            row = session.get(ModelRow, model_id)
            if row is None:
                msg = f"model {model_id!r} was deleted; register it again and submit the job again"
                raise NotFoundError(msg)
            needed = max(loading.get("whole_bytes", 0), _FLOAT32 * row.parameters)
            allowed = available_bytes() if self.most_bytes is None else min(available_bytes(), self.most_bytes)
            return row.kind == SourceKind.SAFETENSORS and needed > allowed

    def _forget(self) -> None:
        held, self._model, self._model_id = self._model is not None, None, None
        self._tokens.clear()
        if held:
            give_back()

    def tokens(self, model_id: str, calibration_id: str) -> CalibrationTokens:
        """Tokens of a calibration set for a model.

        Raises:
            CalibrationError: the text has too few tokens, or some that the model cannot take.
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
            self._tokens = {key: cut_for(model, text, spec)}
        return self._tokens[key]
