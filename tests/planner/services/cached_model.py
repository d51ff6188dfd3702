"""A made-up model whose caches were measured too."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from sqlalchemy.orm import Session

from planner.cells import Cell, ProbeSetting
from planner.storage.cells import store_cells
from planner.storage.database import Database
from sensitivity.checkpoint.description import ModelDescription
from sensitivity.formats.kv_cache import kv_cache_formats
from sensitivity.statistics import CellStatus
from tests import synthetic

HEADS, KV_HEADS, HEAD_DIM = 4, 2, 32
MEASURED = ("FP8", "INT8", "INT4", "INT4_CHANNEL", "INT2")


@contextmanager
def opened(template: Path, folder: Path) -> Iterator[Database]:
    """A SQLite database for tests that do not depend on the backend."""
    shutil.copyfile(template, folder / "bitplan.db")
    database = Database(f"sqlite:///{folder / 'bitplan.db'}")
    yield database
    database.close()


def description() -> ModelDescription:
    """Two blocks; 2 key-value heads of 32 elements."""
    return replace(synthetic.description(), heads=HEADS, kv_heads=KV_HEADS)


def add(session: Session) -> str:
    """Register it, with cells of ``fisher`` and of ``kv_cache``; its id."""
    described = description()
    model = synthetic.add_model(session, described)
    synthetic.add_cells(session, described, synthetic.setting())
    add_kv_cells(session, described)
    return model


def add_kv_cells(
    session: Session, described: ModelDescription, *, seed: int = 0, way: str = "yes", formats: Sequence[str] = MEASURED
) -> str:
    """Cells of both caches of every block: losses that fall fourfold a bit, keys twice those of values; the setting's id."""
    random = np.random.default_rng(seed)
    how = ProbeSetting("kv_cache", 1, "rtn", 1, None, {"made_up": way}, in_nats=True, additive=True)
    cells = []
    for layer in described.layers:
        for fmt in kv_cache_formats():
            if not fmt.concerns(layer.kind) or fmt.name.partition("_")[2] not in formats:
                continue
            loss = float((2.0 if fmt.tensor == "K" else 1.0) * 4.0**-fmt.num_bits * random.lognormal(0.0, 0.3))
            error = loss / 10
            total, squares = 16 * loss, 16 * (loss**2 + 15 * error**2)
            cells.append(Cell(layer.name, fmt.name, fmt.identity, CellStatus.MEASURED, loss, error, 16.0, total, squares))
    store_cells(session, described.fingerprint, how, cells)
    return how.id
