"""What a worker does for a drift job: compare the weights of two checkpoints, block by block. No model is loaded."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.jobs.errors import PermanentError
from planner.jobs.handler import AbstractJobHandler, UnitSpec
from planner.jobs.job import Job
from planner.services.planning_inputs import load_layers
from planner.storage.database import Database
from planner.storage.drifts import store_drift
from planner.storage.tables import ModelRow
from planner.worker.registered_files import registered_files
from sensitivity.checkpoint.description import Layer
from sensitivity.checkpoint.tensors import StoredTensor
from sensitivity.checkpoint.weights import layer_weights, squared_change


@dataclass(frozen=True, slots=True)
class Pair:
    """Two checkpoints that are compared.

    Attributes:
        layers: names of the model's layers, block by block, those outside of the blocks last.
        weights: the model's stored weights, by layer.
        reference: those of the other checkpoint.
    """

    layers: Sequence[Sequence[str]]
    weights: Mapping[str, StoredTensor]
    reference: Mapping[str, StoredTensor]


@dataclass(slots=True)
class DriftHandler(AbstractJobHandler):
    """Reads both checkpoints once, a few megabytes at a time; a unit is a block.

    Attributes:
        database: where both are registered.
        roots: folders that their files must lie in; ``None`` allows every path.
    """

    database: Database
    roots: Sequence[Path] | None = None
    _pairs: dict[str, Pair] = field(default_factory=dict)

    def enumerate(self, job: Job) -> list[UnitSpec]:
        """A unit for each block, and one for the layers outside of the blocks."""
        with self.database.read_session() as session:
            blocks = session.get_one(ModelRow, job.model_id).blocks
        return [UnitSpec(f"{block:06d}", {"block": block}) for block in range(blocks + 1)]

    def run(self, job: Job, unit: UnitSpec) -> NDArray[np.float64]:
        """‖ΔW‖² and ‖W_reference‖² of the block's layers, shape (layers of the block, 2); NaN where there is nothing to compare.

        Raises:
            NotFoundError: one of the models was deleted.
            CheckpointError: files are gone, changed, no safetensors, or hold NaN or infinite weights.
        """
        if job.id not in self._pairs:
            self._pairs = {job.id: self._open(job)}
        pair = self._pairs[job.id]
        names = pair.layers[unit.payload["block"]]
        found = [_squared_change(pair.reference.get(name), pair.weights[name]) for name in names]
        return np.array(found, dtype=np.float64).reshape(len(names), 2)

    def finish(self, session: Session, job: Job, results: Sequence[tuple[str, NDArray[np.float64]]]) -> None:
        """Write the relative change of every layer.

        Raises:
            PermanentError: a unit failed: half a comparison would say that the other layers did not move.
        """
        self._pairs.pop(job.id, None)
        if job.failed:
            msg = f"{job.failed} of {job.total} blocks could not be compared, so nothing is known of the rest; retry the job"
            raise PermanentError(msg)
        names = _by_block(load_layers(session, job.model_id), len(results) - 1)
        changes = {
            name: relative_change(float(change), float(norm))
            for key, array in results
            for name, (change, norm) in zip(names[int(key)], array, strict=True)
        }
        store_drift(session, job.model_id, job.payload["reference"], changes)

    def _open(self, job: Job) -> Pair:
        described = registered_files(self.database, job.model_id, roots=self.roots)
        return Pair(
            layers=_by_block(described.layers, described.blocks),
            weights=layer_weights(described),
            reference=layer_weights(registered_files(self.database, job.payload["reference"], roots=self.roots)),
        )


def relative_change(squared_change: float, squared_norm: float) -> float | None:
    """‖ΔW‖/‖W‖; ``None`` where it has no value: nothing to compare with, or a change of zeros."""
    if math.isnan(squared_change) or (squared_norm == 0 and squared_change > 0):
        return None
    return math.sqrt(squared_change / squared_norm) if squared_change else 0.0


def _by_block(layers: Sequence[Layer], blocks: int) -> list[list[str]]:
    names: list[list[str]] = [[] for _ in range(blocks + 1)]
    for layer in layers:
        names[blocks if layer.block is None else layer.block].append(layer.name)
    return names


def _squared_change(reference: StoredTensor | None, stored: StoredTensor) -> tuple[float, float]:
    if reference is None or reference.shape != stored.shape:
        return math.nan, math.nan
    return squared_change(reference, stored)
