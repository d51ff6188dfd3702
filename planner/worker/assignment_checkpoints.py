"""Write the checkpoint of an assignment with the weights of a loaded model; needs no database."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from planner.exports.target import Json
from planner.runtimes import RuntimeProfile
from planner.worker.checkpoint_sources import open_source
from planner.worker.checkpoint_writers.port import AbstractCheckpointWriter, PlannedCheckpoint
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.layer_rounding import LayerRounding
from sensitivity.loading import LoadedModel


def write_assignment(
    model: LoadedModel,
    assignment: Mapping[str, CandidateFormat],
    exported: Json,
    directory: Path,
    *,
    runtime: RuntimeProfile,
    rounding: LayerRounding,
    writer: AbstractCheckpointWriter,
    file_bytes: int | None = None,
) -> Path:
    """Write an assignment with the weights of a loaded model, as a target packs them.

    Args:
        model: the model; not changed.
        assignment: format of each planned layer by name.
        exported: the target's export of this assignment.
        directory: where to; must not exist yet, or be empty.
        runtime: the engine that will load it.
        rounding: codes of the planned layers.
        writer: of the target.
        file_bytes: what the files of weights are to come to; ``None`` for as few bytes as they take.

    Raises:
        CheckpointError: the directory is in use or cannot be written, or the files would be larger.
        ExportError: the target cannot store what was planned.
    """
    with tempfile.TemporaryDirectory() as scratch:
        source = open_source(model, Path(scratch))
        planned = PlannedCheckpoint(
            description=model.description,
            state=source.state,
            config=source.config,
            companions=source.companions,
            assignment=assignment,
            exported=exported,
            runtime=runtime,
            rounding=rounding,
            file_bytes=file_bytes,
        )
        return writer.write(planned, directory)
