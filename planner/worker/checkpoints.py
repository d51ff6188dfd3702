"""Write the checkpoint of a stored plan, packed or fake-quantized: the exports that need the weights."""

from pathlib import Path
from typing import Final

from planner.errors import ExportError, InvalidRequestError
from planner.exports.target import Json
from planner.runtimes import get_runtime
from planner.schemas.plans import PlanDocument
from planner.services.curve_rounding import CurveRounding, curve_rounding
from planner.services.exporting import chosen_formats, export_plan
from planner.services.plans import get_plan
from planner.storage.database import Database
from planner.worker.assignment_checkpoints import write_assignment
from planner.worker.checkpoint_writers.fake import FakeWriter
from planner.worker.checkpoint_writers.port import AbstractCheckpointWriter
from planner.worker.checkpoint_writers.registry import writer_for
from planner.worker.loaded_models import LoadedModels
from planner.worker.plan_rounding import plan_rounding

DTYPES: Final = ("bfloat16", "float16", "float32")
"""Of fake-quantized checkpoints."""


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
        NotFoundError: no such plan, or the calibration set that its curves were rounded with was deleted.
    """
    with database.read_session() as session:
        document = get_plan(session, plan_id)
        writer = writer_for(get_runtime(document.runtime), target)
        exported = export_plan(session, plan_id, writer.target)
        how = curve_rounding(session, document)
    return _write(database, document, how, exported, directory, writer, promised=True)


def write_fake_checkpoint(database: Database, plan_id: str, directory: Path, dtype: str | None = None) -> Path:
    """Round the weights as planned and write what they decode to, as dense weights that plain ``transformers`` loads.

    Args:
        database: where the plan is stored.
        plan_id: of the plan.
        directory: where to; must not exist yet, or be empty.
        dtype: of all tensors; by default the model's own. Only in float32 are the weights exactly those of evaluations.

    Raises:
        InvalidRequestError: another dtype than ``DTYPES``.
        ExportError: the plan has formats of another tool, which cannot be rounded here.
        CheckpointError, ConflictError, NotFoundError: as ``write_plan_checkpoint`` raises them.
    """
    if dtype not in (None, *DTYPES):
        msg = f"no dtype {dtype!r}: use one of {', '.join(DTYPES)}"
        raise InvalidRequestError(msg)
    with database.read_session() as session:
        document = get_plan(session, plan_id)
        how = curve_rounding(session, document)
    foreign = sorted({fmt.name for fmt in chosen_formats(document).values() if fmt.is_foreign})
    if foreign:
        msg = f"the plan gives layers formats of another tool ({', '.join(foreign[:3])}), which cannot be rounded here"
        raise ExportError(msg, formats=foreign[:20])
    return _write(database, document, how, {}, directory, FakeWriter(dtype))


def _write(
    database: Database,
    document: PlanDocument,
    how: CurveRounding,
    exported: Json,
    directory: Path,
    writer: AbstractCheckpointWriter,
    *,
    promised: bool = False,
) -> Path:
    """``promised``: the files of weights are to have the bytes that the plan says, if it says them."""
    models = LoadedModels(database)
    model = models.get(document.model)
    writer.check(model.description)
    chosen = chosen_formats(document)
    rounding = plan_rounding(models, document.model, how, [chosen])
    runtime = get_runtime(document.runtime)
    return write_assignment(
        model,
        chosen,
        exported,
        directory,
        runtime=runtime,
        rounding=rounding,
        writer=writer,
        file_bytes=document.size.file_bytes if promised and document.size.container_bytes is not None else None,
    )
