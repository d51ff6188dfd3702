"""An importance matrix and the weights give output errors, against the sum written out in float64."""

from pathlib import Path

import numpy as np
import pytest
import torch

from planner.errors import InvalidImportError
from planner.services import curves, imports
from planner.storage.database import Database
from planner.worker.diagonal_errors import diagonal_error, store_diagonal_errors
from planner.worker.loaded_models import LoadedModels
from sensitivity.formats.registry import get_format
from sensitivity.rounding import get_rounding
from tests import tiny_models
from tests.planner.importers import files
from tests.planner.worker.test_main_job import register


def test_cells_are_weighted_by_the_moments(database: Database, tmp_path: Path) -> None:
    model = register(database, tiny_models.tiny_llama(tmp_path / "tiny", blocks=1))
    loaded = LoadedModels(database).get(model)
    random = np.random.default_rng(0)
    moments = {
        layer.name: random.uniform(0.1, 3.0, layer.in_features).astype(np.float32)
        for layer in loaded.description.layers
        if layer.block is not None
    }
    kinds = {name: f"blk.0.{files.TENSORS[name.rpartition('.')[2]]}.weight" for name in moments}
    source = files.imatrix_dat({kinds[name]: values for name, values in moments.items()})
    with database.read_session() as session:
        read = imports.read_files(session, model, [source])
    done = store_diagonal_errors(database, read, read.found, ["INT3_G64", "BF16"], "rtn")  # type: ignore[arg-type]
    assert (done.cells, done.missing, done.probe) == (14, 0, "imported_imatrix")
    with database.read_session() as session:
        found = curves.get_curves(session, model)
    assert found.setting.parameters["schema"] == "dat"
    for cell in found.items:
        weight = loaded.weight(cell.layer).double().numpy()
        rounded = get_rounding("rtn").fake_quantize(loaded.weight(cell.layer), get_format(cell.format)).double().numpy()
        expected = sum(
            moments[cell.layer][j] * ((rounded[:, j] - weight[:, j]) ** 2).sum() for j in range(weight.shape[1])
        ) / sum(moments[cell.layer][j] * (weight[:, j] ** 2).sum() for j in range(weight.shape[1]))
        assert cell.loss == pytest.approx(expected, rel=1e-5)
    with pytest.raises(InvalidImportError, match="'gptq' runs on text"):
        store_diagonal_errors(database, read, read.found, ["INT3_G64"], "gptq")  # type: ignore[arg-type]


def test_a_matrix_that_does_not_change_has_no_error() -> None:
    weight = torch.zeros(2, 3)
    assert diagonal_error(weight, weight, np.zeros(3)) == 0.0
    assert diagonal_error(torch.ones(2, 3), torch.full((2, 3), 1.5), np.array([1.0, 0.0, 2.0])) == 0.25
