"""Write the whole quantized checkpoint of a stored plan: the one export that needs the weights."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from planner.errors import ExportError
from planner.services.curve_rounding import curve_rounding
from planner.services.exporting import chosen_formats, export_plan
from planner.services.plans import get_plan
from planner.storage.database import Database
from planner.worker.loaded_models import LoadedModels
from planner.worker.plan_rounding import plan_rounding
from sensitivity.checkpoint import SourceKind
from sensitivity.loading import LoadedModel
from sensitivity.writing import SafetensorsState, write_checkpoint

COMPANIONS = ("tokenizer*", "special_tokens_map.json", "vocab.json", "merges.txt", "generation_config.json", "chat_template*")


def write_plan_checkpoint(database: Database, plan_id: str, directory: Path) -> Path:
    """Round the weights as planned and write them with compressed-tensors' packing.

    Raises:
        ExportError: the target cannot express the plan.
        CheckpointError: the model's files changed, or the directory cannot be written.
        ConflictError: the curves were rounded by another version of their method.
        NotFoundError: the calibration set that they were rounded with was deleted.
    """
    with database.read_session() as session:
        document = get_plan(session, plan_id)
        exported = export_plan(session, plan_id, "compressed-tensors")
        how = curve_rounding(session, document)
    quantization = exported["quantization_config"]
    if not isinstance(quantization, Mapping):
        msg = "the compressed-tensors export carries no quantization_config; report this as a bug"
        raise ExportError(msg)
    models = LoadedModels(database)
    model = models.get(document.model)
    chosen = chosen_formats(document)
    rounding = plan_rounding(models, document.model, how, [chosen])
    with tempfile.TemporaryDirectory() as scratch:
        state, config, companions = _source(model, Path(scratch))
        return write_checkpoint(
            state,
            chosen,
            directory,
            config=config,
            quantization_config=quantization,
            companions=companions,
            rounding=rounding,
        )


def _source(model: LoadedModel, scratch: Path) -> tuple[Mapping[str, Tensor], dict[str, Any], list[Path]]:
    """Tensors by checkpoint name, the configuration, and the files to copy beside them."""
    path = Path(model.description.path)
    if model.description.kind is SourceKind.SAFETENSORS:
        config = json.loads((path / "config.json").read_text())
        companions = [file for pattern in COMPANIONS for file in sorted(path.glob(pattern)) if file.is_file()]
        return SafetensorsState(sorted(path.glob("*.safetensors"))), config, companions
    model.tokenizer.save_pretrained(scratch)
    config = model.module.config.to_dict()  # type: ignore[operator, union-attr]
    config.pop("quantization_config", None)
    config["dtype"] = model.description.dtype
    return model.module.state_dict(), config, sorted(file for file in scratch.iterdir() if file.is_file())
