"""Write the whole quantized checkpoint of a stored plan: the one export that needs the weights."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from planner.exports.target import Json
from planner.runtimes import RuntimeProfile, get_runtime
from planner.services.curve_rounding import curve_rounding
from planner.services.exporting import chosen_formats, export_plan
from planner.services.plans import get_plan
from planner.storage.database import Database
from planner.worker.checkpoint_writers.port import AbstractCheckpointWriter, PlannedCheckpoint
from planner.worker.checkpoint_writers.registry import writer_for
from planner.worker.loaded_models import LoadedModels
from planner.worker.plan_rounding import plan_rounding
from sensitivity.checkpoint import SourceKind
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.layer_rounding import LayerRounding
from sensitivity.loading import LoadedModel
from sensitivity.writing import SafetensorsState

COMPANIONS = ("tokenizer*", "special_tokens_map.json", "vocab.json", "merges.txt", "generation_config.json", "chat_template*")


def write_plan_checkpoint(database: Database, plan_id: str, directory: Path, target: str | None = None) -> Path:
    """Round the weights as planned and write them as a target packs them.

    Args:
        database: where the plan is stored.
        plan_id: of the plan.
        directory: where to; must not exist yet, or be empty.
        target: an export target; by default the first of the plan's runtime whose checkpoints can be written.

    Raises:
        ExportError: the target cannot express the plan, or has no checkpoints.
        CheckpointError: the model's files changed, or the directory cannot be written.
        ConflictError: the curves were rounded by another version of their method.
        NotFoundError: the calibration set that they were rounded with was deleted.
    """
    with database.read_session() as session:
        document = get_plan(session, plan_id)
        runtime = get_runtime(document.runtime)
        writer = writer_for(runtime, target)
        exported = export_plan(session, plan_id, writer.target)
        how = curve_rounding(session, document)
    models = LoadedModels(database)
    model = models.get(document.model)
    chosen = chosen_formats(document)
    rounding = plan_rounding(models, document.model, how, [chosen])
    return write_assignment(model, chosen, exported, directory, runtime=runtime, rounding=rounding, writer=writer)


def write_assignment(
    model: LoadedModel,
    assignment: Mapping[str, CandidateFormat],
    exported: Json,
    directory: Path,
    *,
    runtime: RuntimeProfile,
    rounding: LayerRounding,
    writer: AbstractCheckpointWriter,
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

    Raises:
        CheckpointError: the directory is in use or cannot be written.
        ExportError: the target cannot store what was planned.
    """
    with tempfile.TemporaryDirectory() as scratch:
        state, config, companions = _source(model, Path(scratch))
        planned = PlannedCheckpoint(
            description=model.description,
            state=state,
            config={key: value for key, value in config.items() if key != "quantization_config"},
            companions=companions,
            assignment=assignment,
            exported=exported,
            runtime=runtime,
            rounding=rounding,
        )
        return writer.write(planned, directory)


def _source(model: LoadedModel, scratch: Path) -> tuple[Mapping[str, Tensor], dict[str, Any], list[Path]]:
    """Tensors by checkpoint name, the configuration, and the files to copy beside them."""
    path = Path(model.description.path)
    if model.description.kind is SourceKind.SAFETENSORS:
        config = json.loads((path / "config.json").read_text())
        companions = [file for pattern in COMPANIONS for file in sorted(path.glob(pattern)) if file.is_file()]
        return SafetensorsState(sorted(path.glob("*.safetensors"))), config, companions
    model.tokenizer.save_pretrained(scratch)
    config = model.module.config.to_dict()  # type: ignore[operator, union-attr]
    config["dtype"] = model.description.dtype
    return model.module.state_dict(), config, sorted(file for file in scratch.iterdir() if file.is_file())
