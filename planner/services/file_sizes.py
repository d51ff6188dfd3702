"""What the files of weights of a plan hold beside its tensors, and what is said where that is not known."""

import sys
from collections.abc import Sequence
from typing import Final

from sqlalchemy.orm import Session

from planner.containers import ContainedModel, container_of
from planner.runtimes import RuntimeProfile
from planner.schemas.plans import BudgetSpec, Selection
from planner.storage.database import Database
from planner.storage.tables import ModelRow
from sensitivity.checkpoint.description import Layer, RestTensor

ENTRY_BYTES: Final = 1000
"""About what remembering one number takes beside the patterns in its key."""


def container_bytes(
    session: Session,
    row: ModelRow,
    request: Selection,
    runtime: RuntimeProfile,
    *,
    planned: Sequence[Layer],
    left: Sequence[Layer],
) -> int | None:
    """Bytes of the files of weights beside their tensors, the same for every plan of these layers.

    Args:
        session: where the model's facts are read.
        row: the model.
        request: which layers are ignored.
        runtime: the engine.
        planned: planned layers.
        left: ignored layers.

    Returns:
        Bytes; ``None`` where no file is written for the runtime or the model, or the model's facts are not known.
    """
    container = container_of(runtime)
    if container is None:
        return None

    def count() -> int | None:
        if row.rest is None:
            return None
        rest = (RestTensor(name, tuple(shape)) for name, shape in row.rest)
        return container.bytes_beside(ContainedModel.of(row, rest), planned, left, runtime)

    ignored = None if request.ignore is None else tuple(request.ignore)
    taken = ENTRY_BYTES + sum(map(sys.getsizeof, ignored or ()))
    key = "container", row.id, row.source, row.path, row.kv_heads, row.tokenizer_bytes, runtime.name, ignored
    return Database.of(session).memory.recall(key, count, size=lambda made: None if made is None else taken)


def note_on_files(row: ModelRow, runtime: RuntimeProfile, budget: BudgetSpec, *, known: bool) -> list[str]:
    """What a plan under a limit of file bytes should know where its tensors alone are counted."""
    if known or budget.file_bytes is None:
        return []
    if container_of(runtime) is None:
        return [f"files for {runtime.name} are made by its own tools: file bytes count the tensors alone"]
    if row.rest is None:
        return ["file bytes count the tensors alone, until the model is registered again (bitplan models add)"]
    return ["no file of this model is written for this runtime: file bytes count the tensors alone, no header and no tokenizer"]
