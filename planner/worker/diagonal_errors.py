"""Output errors from an importance matrix and the model's weights: what an imported imatrix is good for."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planner.cells import Cell
from planner.errors import InvalidImportError
from planner.importers import ImportedMoments
from planner.schemas.imports import ImportDocument
from planner.services.imports import Read, store_imported_cells
from planner.storage.database import Database
from planner.worker.loaded_models import LoadedModels
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format
from sensitivity.layer_rounding import LayerRounding
from sensitivity.loading import LoadedModel
from sensitivity.rounding_facts import get_rounding_facts
from sensitivity.statistics import CellStatus


def store_diagonal_errors(
    database: Database, read: Read, found: ImportedMoments, formats: Sequence[str], rounding: str
) -> ImportDocument:
    """Load the model, make cells of the moments, and store them in one transaction.

    The loss is Σ ΔW²·E[x²] / Σ W²·E[x²]: ``output_error`` with only the diagonal of the inputs' second moments (design §6.2).

    Args:
        database: where the model is registered.
        read: the files.
        found: their moments.
        formats: candidate formats of ours.
        rounding: a rounding method without data.

    Raises:
        InvalidImportError: a rounding method that runs on text.
        UnknownFormatError: no such format, or one of another tool.
        CheckpointError: the model's files are gone, changed or corrupt.
    """
    if get_rounding_facts(rounding).needs_inputs:
        msg = f"rounding method {rounding!r} runs on text, and an importance matrix has only its moments: use rtn or rtn_clip"
        raise InvalidImportError(msg)
    candidates = list(dict.fromkeys(get_format(name) for name in formats))
    model = LoadedModels(database).get(read.model)
    rounded = LayerRounding(model, rounding, {})
    cells = [cell for layer in found.moments for cell in _cells(model, rounded, layer, candidates, found)]
    with database.session() as session:
        setting = read.setting(found.parameters, rounding=rounding)
        return store_imported_cells(session, read, setting, cells)


@torch.no_grad()
def diagonal_error(weight: Tensor, rounded: Tensor, moments: NDArray[np.float64]) -> float:
    """Σ ΔW²·m / Σ W²·m, in float64; 0 where nothing changes.

    Args:
        weight: W, (out, in).
        rounded: W + ΔW, (out, in).
        moments: m = E[x²], (in,).
    """
    diagonal = torch.from_numpy(moments)
    error = float(((rounded - weight).double().square() @ diagonal).sum())
    return error / float((weight.double().square() @ diagonal).sum()) if error else 0.0


def _cells(
    model: LoadedModel, rounded: LayerRounding, layer: str, formats: Sequence[CandidateFormat], found: ImportedMoments
) -> Iterator[Cell]:
    weight, moments = model.weight(layer), found.moments[layer]
    for fmt in formats:
        loss = None
        status = CellStatus.NO_TOKENS if layer in found.silent else CellStatus.MEASURED
        if fmt.refusal((weight.shape[0], weight.shape[1])) is not None:
            status = CellStatus.UNSUPPORTED_SHAPE
        if status is CellStatus.MEASURED:
            loss = diagonal_error(weight, rounded.fake_quantize(layer, fmt), moments)
            status = status if np.isfinite(loss) else CellStatus.NON_FINITE
        known = loss if status is CellStatus.MEASURED else None
        yield Cell(
            layer=layer,
            format=fmt.name,
            format_identity=fmt.identity,
            status=status,
            loss=known,
            standard_error=None,
            samples=float(known is not None),
            total=known,
            total_squares=None if known is None else known * known,
        )
